/**
 * Unpacks Snappy (its format_description.txt): raw, as librdkafka and Go's clients send it, or in Java's own frames.
 */
import { UnpackedBytes } from "./unpacked-bytes.ts";

const JAVA_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
/** The magic and two versions. */
const JAVA_HEADER_BYTES = 16;
/** Element types, in the two low bits of a tag. */
const LITERAL = 0;
const COPY_SHORT = 1;
const COPY_2 = 2;
/** The tag holds the length of literals up to this one. */
const LITERAL_IN_TAG = 60;

/** Throws RangeError if the data are damaged or expand beyond `maxBytes`. */
export function unpackSnappy(data: Buffer, maxBytes: number): Buffer {
  if (!data.subarray(0, JAVA_MAGIC.length).equals(JAVA_MAGIC)) return unpackBlock(data, maxBytes);
  const out = new UnpackedBytes(maxBytes);
  for (let at = JAVA_HEADER_BYTES; at < data.length; ) {
    const end = at + 4 + data.readUInt32BE(at);
    if (end > data.length) throw new RangeError("the compressed data are truncated");
    const block = unpackBlock(data.subarray(at + 4, end), maxBytes);
    out.add(block, 0, block.length);
    at = end;
  }
  return out.bytes;
}

/** References reach back only within a block. */
function unpackBlock(data: Buffer, maxBytes: number): Buffer {
  let at = 0;
  let size = 0;
  for (let factor = 1; ; factor *= 128) {
    const byte = data.readUInt8(at++);
    size += (byte & 0x7f) * factor;
    if (byte < 0x80) break;
  }
  const out = new UnpackedBytes(maxBytes, size);
  while (at < data.length) {
    const tag = data[at++]!;
    const kind = tag & 3;
    if (kind === LITERAL) {
      let length = (tag >>> 2) + 1;
      if (length > LITERAL_IN_TAG) {
        const lengthBytes = length - LITERAL_IN_TAG;
        length = data.readUIntLE(at, lengthBytes) + 1;
        at += lengthBytes;
      }
      out.add(data, at, at + length);
      at += length;
    } else if (kind === COPY_SHORT) {
      out.repeat(((tag >>> 5) << 8) | data.readUInt8(at), ((tag >>> 2) & 7) + 4);
      at += 1;
    } else {
      const offsetBytes = kind === COPY_2 ? 2 : 4;
      out.repeat(data.readUIntLE(at, offsetBytes), (tag >>> 2) + 1);
      at += offsetBytes;
    }
  }
  if (out.bytes.length !== size) throw new RangeError(`${out.bytes.length} bytes instead of the declared ${size}`);
  return out.bytes;
}

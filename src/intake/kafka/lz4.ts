/** Unpacks LZ4 frames (lz4_Frame_format.md). Checksums are ignored, because TCP and the batch have their own. */
import { UnpackedBytes } from "./unpacked-bytes.ts";

const MAGIC = 0x184d2204;
const HAS_BLOCK_CHECKSUMS = 0x10;
const HAS_CONTENT_SIZE = 0x08;
const HAS_CONTENT_CHECKSUM = 0x04;
const HAS_DICTIONARY = 0x01;
const IS_STORED = 0x8000_0000;
const SHORTEST_MATCH = 4;
/** A length that does not fit into four bits continues in the following bytes. */
const LONG = 15;

/** Throws RangeError if the data are damaged or expand beyond `maxBytes`. */
export function unpackLz4Frames(data: Buffer, maxBytes: number): Buffer {
  const out = new UnpackedBytes(maxBytes);
  for (let at = 0; at < data.length; ) at = unpackFrame(data, at, out);
  return out.bytes;
}

function unpackFrame(data: Buffer, start: number, out: UnpackedBytes): number {
  if (data.readUInt32LE(start) !== MAGIC) throw new RangeError("not an LZ4 frame");
  const flags = data.readUInt8(start + 4);
  if ((flags & HAS_DICTIONARY) !== 0) throw new RangeError("LZ4 dictionaries are not supported");
  let at = start + 7 + ((flags & HAS_CONTENT_SIZE) === 0 ? 0 : 8);
  for (;;) {
    const size = data.readUInt32LE(at);
    at += 4;
    if (size === 0) return at + ((flags & HAS_CONTENT_CHECKSUM) === 0 ? 0 : 4);
    const isStored = size >= IS_STORED;
    const end = at + (isStored ? size - IS_STORED : size);
    if (end > data.length) throw new RangeError("the compressed data are truncated");
    if (isStored) out.add(data, at, end);
    else unpackBlock(data, at, end, out);
    at = end + ((flags & HAS_BLOCK_CHECKSUMS) === 0 ? 0 : 4);
  }
}

function unpackBlock(data: Buffer, start: number, end: number, out: UnpackedBytes): void {
  let at = start;
  const moreLength = (): number => {
    let sum = 0;
    for (;;) {
      const byte = data.readUInt8(at++);
      sum += byte;
      if (byte !== 255) return sum;
    }
  };
  while (at < end) {
    const token = data[at++]!;
    let literals = token >>> 4;
    if (literals === LONG) literals += moreLength();
    out.add(data, at, at + literals);
    at += literals;
    // The last sequence of a block has only literals.
    if (at >= end) return;
    const distance = data.readUInt16LE(at);
    at += 2;
    let length = (token & 0x0f) + SHORTEST_MATCH;
    if (length === LONG + SHORTEST_MATCH) length += moreLength();
    out.repeat(distance, length);
  }
}

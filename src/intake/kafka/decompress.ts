/**
 * Decompresses batches in each format that Kafka knows.
 *
 * Invariant: a batch of records never expands beyond the bound, whoever made it.
 */
import { promisify } from "node:util";
import { gunzip, zstdDecompress } from "node:zlib";
import { areWholeZstdFrames } from "../../protocol/body/zstd-frames.ts";

/** A batch has 1 MB by default, and text shrinks to a tenth. */
const UNPACKED_MAX_BYTES = 64 * 1024 * 1024;

const inGzip = promisify(gunzip);
const inZstd = promisify(zstdDecompress);

/** `compression` is the number in the batch. Throws if it is unknown, or if the data are damaged or too large. */
export async function decompress(
  compression: number,
  data: Buffer,
  maxOutputLength = UNPACKED_MAX_BYTES,
): Promise<Buffer> {
  if (compression === 0) return data;
  if (compression === 1) return await inGzip(data, { maxOutputLength });
  if (compression === 2) return unpackSnappy(data, maxOutputLength);
  if (compression === 3) return unpackLz4Frames(data, maxOutputLength);
  if (compression === 4 && !areWholeZstdFrames(data)) throw new RangeError("the compressed data are truncated");
  if (compression === 4) return await inZstd(data, { maxOutputLength });
  throw new Error(`compression ${compression} is unknown`);
}

const LZ4_MAGIC = 0x184d2204;
const HAS_BLOCK_CHECKSUMS = 0x10;
const HAS_CONTENT_SIZE = 0x08;
const HAS_CONTENT_CHECKSUM = 0x04;
const HAS_DICTIONARY = 0x01;
const IS_STORED = 0x8000_0000;
const SHORTEST_MATCH = 4;
/** A length that does not fit into four bits continues in the following bytes. */
const LONG = 15;

/**
 * Reads the format of lz4_Frame_format.md. Checksums are ignored, because TCP and the batch have their own. Throws
 * RangeError if the data are damaged or expand beyond `maxBytes`.
 */
function unpackLz4Frames(data: Buffer, maxBytes: number): Buffer {
  const out = new UnpackedBytes(maxBytes);
  for (let at = 0; at < data.length; ) at = unpackLz4Frame(data, at, out);
  return out.bytes;
}

function unpackLz4Frame(data: Buffer, start: number, out: UnpackedBytes): number {
  if (data.readUInt32LE(start) !== LZ4_MAGIC) throw new RangeError("not an LZ4 frame");
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
    else unpackLz4Block(data, at, end, out);
    at = end + ((flags & HAS_BLOCK_CHECKSUMS) === 0 ? 0 : 4);
  }
}

function unpackLz4Block(data: Buffer, start: number, end: number, out: UnpackedBytes): void {
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

const JAVA_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
/** The magic and two versions. */
const JAVA_HEADER_BYTES = 16;
/** Element types, in the two low bits of a tag. */
const LITERAL = 0;
const COPY_SHORT = 1;
const COPY_2 = 2;
/** The tag holds the length of literals up to this one. */
const LITERAL_IN_TAG = 60;

/**
 * Reads the format of format_description.txt: raw, as librdkafka and Go's clients send it, or in Java's own frames.
 * Throws RangeError like unpackLz4Frames().
 */
function unpackSnappy(data: Buffer, maxBytes: number): Buffer {
  if (!data.subarray(0, JAVA_MAGIC.length).equals(JAVA_MAGIC)) return unpackSnappyBlock(data, maxBytes);
  const out = new UnpackedBytes(maxBytes);
  for (let at = JAVA_HEADER_BYTES; at < data.length; ) {
    const end = at + 4 + data.readUInt32BE(at);
    if (end > data.length) throw new RangeError("the compressed data are truncated");
    const block = unpackSnappyBlock(data.subarray(at + 4, end), maxBytes);
    out.add(block, 0, block.length);
    at = end;
  }
  return out.bytes;
}

/** References reach back only within a block. */
function unpackSnappyBlock(data: Buffer, maxBytes: number): Buffer {
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

const FIRST_BYTES = 65_536;

/**
 * The growing output of a decompression: new bytes, and repetitions of earlier ones. Throws RangeError above its bound.
 */
class UnpackedBytes {
  readonly #maxBytes: number;
  #bytes: Buffer;
  #length = 0;

  /** `expectedBytes` comes from the data, so it may be wrong. */
  constructor(maxBytes: number, expectedBytes = FIRST_BYTES) {
    this.#maxBytes = maxBytes;
    this.#bytes = Buffer.allocUnsafe(Math.min(expectedBytes, maxBytes));
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  add(source: Buffer, from: number, to: number): void {
    if (from > to || to > source.length) throw new RangeError("the compressed data are truncated");
    this.#makeRoom(to - from);
    source.copy(this.#bytes, this.#length, from, to);
    this.#length += to - from;
  }

  /** Repeats the bytes that began `distance` bytes ago, possibly including some that it adds itself. */
  repeat(distance: number, length: number): void {
    const from = this.#length - distance;
    if (distance < 1 || from < 0) throw new RangeError("the compressed data refer to bytes before their start");
    this.#makeRoom(length);
    const bytes = this.#bytes;
    if (distance >= length) bytes.copyWithin(this.#length, from, from + length);
    else for (let i = 0; i < length; i++) bytes[this.#length + i] = bytes[from + i]!;
    this.#length += length;
  }

  #makeRoom(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    if (needed > this.#maxBytes) throw new RangeError(`more than ${this.#maxBytes} bytes when unpacked`);
    const larger = Buffer.allocUnsafe(Math.min(this.#maxBytes, Math.max(needed, 2 * this.#bytes.length)));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

/**
 * The growing output of a decompression: new bytes, and repetitions of earlier ones. Throws RangeError above its bound.
 */

const FIRST_BYTES = 65_536;

export class UnpackedBytes {
  readonly #maxBytes: number;
  #bytes: Buffer;
  #length = 0;

  /** `expectedBytes` comes from the data, so it may be wrong. */
  constructor(maxBytes: number, expectedBytes = FIRST_BYTES) {
    this.#maxBytes = maxBytes;
    this.#bytes = Buffer.allocUnsafe(Math.min(expectedBytes, maxBytes));
  }

  /** Everything so far. */
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

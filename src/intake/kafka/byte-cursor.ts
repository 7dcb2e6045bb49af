/** Reads the numbers and strings of Kafka's protocol from a buffer. Throws RangeError at its end. */

export class ByteCursor {
  readonly bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get remaining(): number {
    return this.bytes.length - this.at;
  }

  int8(): number {
    return this.bytes.readInt8(this.#pass(1));
  }

  int16(): number {
    return this.bytes.readInt16BE(this.#pass(2));
  }

  int32(): number {
    return this.bytes.readInt32BE(this.#pass(4));
  }

  /** Exact up to 2^53, which offsets and producer ids never exceed. */
  int64(): number {
    const at = this.#pass(8);
    return this.bytes.readInt32BE(at) * 0x1_0000_0000 + this.bytes.readUInt32BE(at + 4);
  }

  /** Reads at most 32 bits. */
  unsignedVarint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.bytes.readUInt8(this.#pass(1));
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new RangeError("a varint has more than 5 bytes");
  }

  /** Zigzag: 0, -1, 1, -2 … */
  varint(): number {
    const value = this.unsignedVarint();
    return (value >>> 1) ^ -(value & 1);
  }

  skipVarint(): void {
    while (this.bytes.readUInt8(this.#pass(1)) >= 0x80);
  }

  /** True if the bytes from here to `end` equal those from `from` to `to`. */
  isRepeated(from: number, to: number, end: number): boolean {
    const { bytes, at } = this;
    if (to - from !== end - at) return false;
    for (let i = from, j = at; i < to; i++, j++) if (bytes[i] !== bytes[j]) return false;
    return true;
  }

  skip(length: number): void {
    this.#pass(length);
  }

  take(length: number): Buffer {
    const at = this.#pass(length);
    return this.bytes.subarray(at, at + length);
  }

  skipSized(): void {
    const length = this.varint();
    if (length !== -1) this.skip(length);
  }

  /** Null for a length of -1. */
  takeSized(): Buffer | null {
    const length = this.varint();
    return length === -1 ? null : this.take(length);
  }

  skipTaggedFields(): void {
    for (let count = this.unsignedVarint(); count > 0; count--) {
      this.unsignedVarint();
      this.skip(this.unsignedVarint());
    }
  }

  #pass(length: number): number {
    const at = this.at;
    if (length < 0 || at + length > this.bytes.length) throw new RangeError("the data are truncated");
    this.at = at + length;
    return at;
  }
}

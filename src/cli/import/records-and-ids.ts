/** Splits a content into records, and gives events without an id one by their place in it. */
export const RECORD_MAX_BYTES = 65_536;

export interface ContentRecord {
  /** Without the line break; valid until the next record. */
  readonly bytes: Buffer;
  readonly start: number;
  /** Number of its first line, from 1. */
  readonly line: number;
  /** Why it can't be read; undefined if it can. */
  readonly problem: string | undefined;
}

interface SplitStart {
  /** Where the first record begins. Earlier bytes are only hashed. */
  readonly offset: number;
  readonly line: number;
}

const LINE_END = 10;
const QUOTE = 34;
const NONE = Buffer.alloc(0);
const TOO_LONG = `the line is longer than ${RECORD_MAX_BYTES} bytes`;
const NOT_CLOSED = "a quote is not closed";

/**
 * Splits a content into records: lines, in CSV with quoted line breaks.
 *
 * Invariants: records depend on the content alone, not on its blocks. Memory is bounded by RECORD_MAX_BYTES plus a
 * block. Every byte is hashed once, so that the hash up to the end of any record is available.
 */
export class RecordSplitter {
  readonly #isCsv: boolean;
  readonly #hasher = new Bun.CryptoHasher("sha256");
  #skipBytes: number;
  #line: number;
  /** Data that is not completely split; it begins at `#dataOffset` of the content. */
  #data: Buffer = NONE;
  #dataOffset: number;
  /** Where the split and hashed parts of `#data` end. */
  #taken = 0;
  #hashed = 0;
  /** The beginning of an overlong line, until its end is found. */
  #long: Buffer | undefined;
  #longStart = 0;
  /** Hash of the content up to `#longStart`: more is hashed before the line's end is found. */
  #longSha256: Buffer | undefined;

  constructor({ offset, line }: SplitStart, isCsv: boolean) {
    this.#isCsv = isCsv;
    this.#skipBytes = offset;
    this.#dataOffset = offset;
    this.#line = line;
  }

  /** The position in the content after the last record. */
  get offset(): number {
    return this.#long === undefined ? this.#dataOffset + this.#taken : this.#longStart;
  }

  get hasRest(): boolean {
    return this.#taken < this.#data.length || this.#long !== undefined;
  }

  get line(): number {
    return this.#line;
  }

  /** Hash of the content up to `offset`, which must neither decrease nor lie beyond the last record. */
  sha256(offset = this.offset): Buffer {
    if (this.#longSha256 !== undefined && offset === this.#longStart) return this.#longSha256;
    this.#hashTo(offset - this.#dataOffset);
    return this.#hasher.copy().digest();
  }

  /**
   * `block`: the next one, or undefined at the end. Consume all records before the next call. `isGrowing`: hold back an
   * unterminated last line, since more of it may come.
   */
  *split(block: Buffer | undefined, isGrowing = false): Generator<ContentRecord> {
    this.#hashTo(this.#taken);
    const rest = this.#data.subarray(this.#taken);
    const fresh = this.#withoutSkipped(block ?? NONE);
    this.#data = rest.length === 0 ? fresh : Buffer.concat([rest, fresh]);
    this.#dataOffset += this.#taken;
    this.#taken = 0;
    this.#hashed = 0;
    for (;;) {
      const record = this.#next(block === undefined && !isGrowing);
      if (record === undefined) return;
      yield record;
    }
  }

  #withoutSkipped(block: Buffer): Buffer {
    if (this.#skipBytes === 0) return block;
    const skipped = block.subarray(0, this.#skipBytes);
    this.#hasher.update(skipped);
    this.#skipBytes -= skipped.length;
    return block.subarray(skipped.length);
  }

  #hashTo(end: number): void {
    if (end <= this.#hashed) return;
    this.#hasher.update(this.#data.subarray(this.#hashed, end));
    this.#hashed = end;
  }

  #next(isEnd: boolean): ContentRecord | undefined {
    const data = this.#data;
    const from = this.#taken;
    const newline = data.indexOf(LINE_END, from);
    if (this.#long !== undefined) return this.#endLong(newline, isEnd);
    if (from === data.length) return undefined;
    const lineEnd = newline === -1 ? data.length : newline;
    if (lineEnd - from > RECORD_MAX_BYTES) {
      this.#longSha256 = this.sha256();
      this.#longStart = this.offset;
      this.#long = Buffer.from(data.subarray(from, from + RECORD_MAX_BYTES));
      return this.#endLong(newline, isEnd);
    }
    if (newline === -1 && !isEnd) return undefined;
    if (!this.#isCsv) return this.#take(lineEnd, 1, undefined);
    return this.#nextOfCsv(lineEnd, isEnd);
  }

  #take(end: number, lineCount: number, problem: string | undefined): ContentRecord {
    const bytes = this.#data.subarray(this.#taken, end);
    const record = { bytes, start: this.offset, line: this.#line, problem };
    this.#taken = Math.min(end + 1, this.#data.length);
    this.#line += lineCount;
    return record;
  }

  #endLong(newline: number, isEnd: boolean): ContentRecord | undefined {
    const bytes = this.#long!;
    this.#taken = newline === -1 ? this.#data.length : newline + 1;
    if (newline === -1 && !isEnd) return undefined;
    this.#long = undefined;
    const record = { bytes, start: this.#longStart, line: this.#line, problem: TOO_LONG };
    this.#line += 1;
    return record;
  }

  /** If quotes do not close, the first line is a bad record, and the next record begins after it. */
  #nextOfCsv(firstEnd: number, isEnd: boolean): ContentRecord | undefined {
    const data = this.#data;
    const from = this.#taken;
    let end = firstEnd;
    let lineCount = 1;
    for (let quotes = quoteCount(data, from, end); quotes % 2 === 1; lineCount++) {
      const newline = end === data.length ? -1 : data.indexOf(LINE_END, end + 1);
      const isMissing = newline === -1 && (!isEnd || end === data.length);
      const next = newline === -1 ? data.length : newline;
      const isTooLong = next - from > RECORD_MAX_BYTES;
      if (isMissing && !isEnd && !isTooLong) return undefined;
      if (isMissing || isTooLong) return this.#take(firstEnd, 1, NOT_CLOSED);
      quotes += quoteCount(data, end, next);
      end = next;
    }
    return this.#take(end, lineCount, undefined);
  }
}

/** Byte by byte: indexOf() would search to the end of the block if there is none. */
function quoteCount(data: Buffer, from: number, to: number): number {
  let count = 0;
  for (let i = from; i < to; i++) if (data[i] === QUOTE) count += 1;
  return count;
}

const HASH_BYTES = 32;
/** Hexadecimal, for offsets up to 17 TB. */
const PLACE_DIGITS = 11;
/** 96 bits, besides the offset: collisions are practically impossible. */
const ID_HASH_BYTES = 12;

/**
 * Derives ids for events without one: the offset of the event's record, and a hash of the content up to its end.
 *
 * So the same content gives the same ids, whatever its name or compression, however requests divide it, and wherever an
 * import resumes. Equal lines have distinct ids. Files that begin with the same line and then differ have different
 * ids: `namesake` numbers them (in the state file).
 *
 * The offset keeps ids ordered for stores with a tree index (SQLite, in the embedded hot store): in hash order, an id
 * took 42 µs of CPU time instead of 4.
 */
export class EventIds {
  /** The current hash, then room for a record. */
  readonly #scratch = Buffer.alloc(HASH_BYTES + RECORD_MAX_BYTES);

  /** `chain`: from the mark where reading starts. */
  constructor(chain: Uint8Array) {
    this.#scratch.set(chain);
  }

  get chain(): Uint8Array {
    return Uint8Array.from(this.#scratch.subarray(0, HASH_BYTES));
  }

  advance(record: Uint8Array): void {
    this.#scratch.set(record, HASH_BYTES);
    Bun.SHA256.hash(this.#scratch.subarray(0, HASH_BYTES + record.length), this.#scratch.subarray(0, HASH_BYTES));
  }

  /** The id for the record of the last advance(), which begins at `start`. */
  id(start: number): string {
    const hash = this.#scratch.toString("base64url", 0, ID_HASH_BYTES);
    return `${start.toString(16).padStart(PLACE_DIGITS, "0")}${hash}`;
  }
}

/** `head`: the bytes before the first record. `namesake`: see ImportRecord. */
export function firstChain(head: Uint8Array, namesake: number): Uint8Array {
  const chain = sha256Of(head);
  return namesake === 0 ? chain : sha256Of(Buffer.concat([chain, Buffer.from(`namesake ${namesake}`)]));
}

export function sha256Of(bytes: Uint8Array): Buffer {
  return new Bun.CryptoHasher("sha256").update(bytes).digest();
}

/**
 * Splits a content into records: lines, or in CSV what its quotes hold together.
 *
 * Invariants: which records there are depends on the content alone, not on the blocks it comes in; memory is
 * bounded by RECORD_MAX_BYTES and a block; every byte is hashed once, so that at the end of any record the hash
 * of all that is before it can be had.
 */
export const RECORD_MAX_BYTES = 65_536;

export interface ContentRecord {
  /** Without the line's end, and only until the next one is asked for. */
  readonly bytes: Buffer;
  /** In the content, from 0. */
  readonly start: number;
  /** Of its first line, from 1. */
  readonly line: number;
  /** Why it can't be read. */
  readonly problem: string | undefined;
}

export interface SplitStart {
  /** Where the first record begins. What is before it is hashed, and not taken apart. */
  readonly offset: number;
  readonly line: number;
}

const LINE_END = 10;
const QUOTE = 34;
const NONE = Buffer.alloc(0);
const TOO_LONG = `the line is longer than ${RECORD_MAX_BYTES} bytes`;
const NOT_CLOSED = "a quote is not closed";

export class RecordSplitter {
  readonly #isCsv: boolean;
  readonly #hasher = new Bun.CryptoHasher("sha256");
  #skipBytes: number;
  #line: number;
  /** What is not all taken apart; it begins at `#dataOffset` of the content. */
  #data: Buffer = NONE;
  #dataOffset: number;
  /** Up to where in `#data` records were taken, and up to where it is hashed. */
  #taken = 0;
  #hashed = 0;
  /** How a line begins that is too long, until its end is found; and where it does. */
  #long: Buffer | undefined;
  #longStart = 0;

  constructor({ offset, line }: SplitStart, isCsv: boolean) {
    this.#isCsv = isCsv;
    this.#skipBytes = offset;
    this.#dataOffset = offset;
    this.#line = line;
  }

  /** In the content: behind the last record. */
  get offset(): number {
    return this.#dataOffset + this.#taken;
  }

  /** Something was read behind the last record. */
  get hasRest(): boolean {
    return this.#taken < this.#data.length || this.#long !== undefined;
  }

  /** Of the next record. */
  get line(): number {
    return this.#line;
  }

  /** Of the content up to there: not before any place that this was asked for, and not behind the last record. */
  sha256(offset = this.offset): Buffer {
    this.#hashTo(offset - this.#dataOffset);
    return this.#hasher.copy().digest();
  }

  /**
   * The next block, or undefined at the content's end. All records have to be taken before the next call. `isGrowing`:
   * a last line without an end is not taken, since more of it may come.
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
      this.#long = Buffer.from(data.subarray(from, from + RECORD_MAX_BYTES));
      this.#longStart = this.offset;
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

  /** If its quotes do not close, its first line is a record by itself, and the next one begins behind that. */
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

/** Byte by byte: a search for the next one would go on to the end of the block where there is none. */
function quoteCount(data: Buffer, from: number, to: number): number {
  let count = 0;
  for (let i = from; i < to; i++) if (data[i] === QUOTE) count += 1;
  return count;
}

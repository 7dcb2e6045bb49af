/**
 * Finds the events in a body's text without parsing them: lines of NDJSON, or elements of an array. Most elements of
 * most arrays are plain events, which read-events.ts reads without it.
 *
 * Invariants: a scan looks at each character once, and at a limited number per call (except the rest of a line, which
 * is searched natively), so that the caller can yield in between. An array's text is valid JSON if and only if its scan
 * ends without a fault and each element is valid JSON. So each element is parsed alone, and no JSON.parse takes long.
 */
export class Pieces {
  /** Numbers of the lines or elements, from 0; blank lines count. */
  readonly indexes: number[] = [];
  readonly starts: number[] = [];
  readonly ends: number[] = [];

  get count(): number {
    return this.starts.length;
  }

  add(index: number, start: number, end: number): void {
    this.indexes.push(index);
    this.starts.push(start);
    this.ends.push(end);
  }
}

export interface Scan {
  readonly pieces: Pieces;
  /** Why the text as a whole is malformed. */
  readonly fault: string | undefined;
  /** Events of the body so far. */
  readonly count: number;
  /** Continues for about `charCount` characters; false once the scan is over. */
  advance(charCount: number): boolean;
}

const LINE_END = 10;
const SPACE = 32;
const QUOTE = 34;
export const COMMA = 44;
const BACKSLASH = 92;
const OPEN_ARRAY = 91;
const CLOSE_ARRAY = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

/** Skips blank lines. Stops once `maxCount` pieces or `maxLines` lines are exceeded. */
export class LineScan implements Scan {
  readonly pieces = new Pieces();
  readonly fault = undefined;
  readonly #text: string;
  readonly #maxCount: number;
  readonly #maxLines: number;
  #start = 0;
  /** Everything from `#start` to here is blank. */
  #at = 0;
  lineCount = 0;

  get count(): number {
    return this.pieces.count;
  }

  constructor(text: string, maxCount: number, maxLines: number) {
    this.#text = text;
    this.#maxCount = maxCount;
    this.#maxLines = maxLines;
  }

  advance(charCount: number): boolean {
    const text = this.#text;
    const until = Math.min(this.#at + charCount, text.length);
    while (this.#at < until) {
      const code = text.charCodeAt(this.#at);
      if (code === LINE_END) {
        if (!this.#endLine(this.#at)) return false;
      } else if (isSpace(code)) {
        this.#at += 1;
      } else {
        // Takes 0.2 ms for a line of 4 MB.
        const end = text.indexOf("\n", this.#at);
        this.pieces.add(this.lineCount, this.#start, end === -1 ? text.length : end);
        if (!this.#endLine(this.pieces.ends.at(-1)!)) return false;
      }
    }
    return this.#at < text.length || (this.#start < text.length && this.#endLine(text.length));
  }

  #endLine(end: number): boolean {
    this.lineCount += 1;
    this.#start = end + 1;
    this.#at = this.#start;
    return this.pieces.count <= this.#maxCount && this.lineCount <= this.#maxLines;
  }
}

/** Where an element of an array begins, and its number. */
export interface ElementPlace {
  at: number;
  index: number;
}

/** Undefined if the text is no array. */
export function firstElementOf(text: string): ElementPlace | undefined {
  const start = firstNonSpace(text, 0);
  return text.charCodeAt(start) === OPEN_ARRAY ? { at: start + 1, index: 0 } : undefined;
}

/** Stops once there are more than `maxCount` elements. */
export class ElementScan implements Scan {
  readonly pieces = new Pieces();
  readonly #text: string;
  readonly #maxCount: number;
  fault: string | undefined;
  #at = 0;
  #start = 0;
  #index = 0;
  #depth = 1;
  #isInString = false;

  /** `from`: the element that the scan begins with; undefined if the text is no array. */
  constructor(text: string, maxCount: number, from: ElementPlace | undefined) {
    this.#text = text;
    this.#maxCount = maxCount;
    if (from === undefined) {
      this.fault = 'it does not start with "["; one event per line is application/x-ndjson';
    } else {
      this.#at = from.at;
      this.#start = from.at;
      this.#index = from.index;
    }
  }

  /** Of the whole array, as far as it was scanned. */
  get count(): number {
    return this.#index;
  }

  advance(charCount: number): boolean {
    if (this.fault !== undefined) return false;
    const text = this.#text;
    const end = Math.min(this.#at + charCount, text.length);
    let i = this.#at;
    for (; i < end; i++) {
      const code = text.charCodeAt(i);
      // Most characters are letters and digits: without this shortcut a scan takes twice as long.
      if (code > CLOSE_ARRAY ? code < OPEN_OBJECT : code > COMMA && code < OPEN_ARRAY) continue;
      if (code === BACKSLASH) {
        if (this.#isInString) i += 1;
      } else if (code === QUOTE) {
        this.#isInString = !this.#isInString;
      } else if (!this.#isInString && !this.#take(code, i)) {
        return false;
      }
    }
    this.#at = i;
    if (i >= text.length) this.fault = "the array does not end";
    return i < text.length;
  }

  /** Handles a character outside of strings. False if it ends the scan. */
  #take(code: number, at: number): boolean {
    if (code === COMMA) {
      if (this.#depth > 1) return true;
      this.#endElement(at);
      return this.count <= this.#maxCount;
    }
    if (code === OPEN_OBJECT || code === OPEN_ARRAY) this.#depth += 1;
    else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) this.#depth -= 1;
    if (this.#depth > 0) return true;
    this.#endArray(code, at);
    return false;
  }

  #endElement(end: number): void {
    this.pieces.add(this.#index++, this.#start, end);
    this.#start = end + 1;
  }

  #endArray(code: number, end: number): void {
    if (code !== CLOSE_ARRAY || firstNonSpace(this.#text, end + 1) < this.#text.length) {
      this.fault = "there is text after the end of the array";
    } else if (this.count > 0 || firstNonSpace(this.#text, this.#start) < end) {
      this.#endElement(end);
    }
  }
}

export class WholeScan implements Scan {
  readonly pieces = new Pieces();
  readonly fault = undefined;
  readonly count = 1;

  constructor(text: string) {
    this.pieces.add(0, 0, text.length);
  }

  advance(): boolean {
    return false;
  }
}

export function quoteCountOf(text: string): number {
  let count = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) count += 1;
    else if (code === BACKSLASH) i += 1;
  }
  return count;
}

/** JSON whitespace: space, tab, carriage return, line feed. */
function isSpace(code: number): boolean {
  return code === SPACE || code === LINE_END || code === 13 || code === 9;
}

export function firstNonSpace(text: string, start: number): number {
  let i = start;
  while (i < text.length && isSpace(text.charCodeAt(i))) i += 1;
  return i;
}

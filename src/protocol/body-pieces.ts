/**
 * Finds the events in the text of a body, without reading them: the lines of NDJSON, the elements of an array.
 *
 * Invariant: for an array, the text is JSON if and only if a scan ends without an error and each piece is
 * JSON. So each piece can be read by itself, and no input makes one call of JSON.parse take long.
 */
export class Pieces {
  /** Of the lines, blank ones counted, or of the elements: from 0. */
  readonly indexes: number[] = [];
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  /** Quotes that are not escaped. */
  readonly quoteCounts: number[] = [];

  get count(): number {
    return this.starts.length;
  }

  add(index: number, start: number, end: number, quoteCount: number): void {
    this.indexes.push(index);
    this.starts.push(start);
    this.ends.push(end);
    this.quoteCounts.push(quoteCount);
  }
}

const LINE_END = 10;
const SPACE = 32;
const QUOTE = 34;
const COMMA = 44;
const BACKSLASH = 92;
const OPEN_ARRAY = 91;
const CLOSE_ARRAY = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

/** Stops when there are more than `maxCount`. Blank lines are no pieces. */
export function linesOf(text: string, maxCount: number): Pieces {
  const pieces = new Pieces();
  let start = 0;
  let quoteCount = 0;
  let index = 0;
  for (let i = 0; i <= text.length && pieces.count <= maxCount; i++) {
    const code = i === text.length ? LINE_END : text.charCodeAt(i);
    if (code === QUOTE) {
      quoteCount += 1;
    } else if (code === LINE_END) {
      if (!isBlank(text, start, i)) pieces.add(index, start, i, quoteCount);
      index += 1;
      start = i + 1;
      quoteCount = 0;
    } else if (code === BACKSLASH && text.charCodeAt(i + 1) !== LINE_END) {
      i += 1;
    }
  }
  return pieces;
}

/** One, whatever it is. */
export function wholeOf(text: string): Pieces {
  const pieces = new Pieces();
  let quoteCount = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) quoteCount += 1;
    else if (code === BACKSLASH) i += 1;
  }
  pieces.add(0, 0, text.length, quoteCount);
  return pieces;
}

/** Stops when there are more than `maxCount`. Answers what is wrong if the text is no array. */
export function elementsOf(text: string, maxCount: number): Pieces | string {
  const pieces = new Pieces();
  const opening = firstUnlikeSpace(text, 0);
  if (text.charCodeAt(opening) !== OPEN_ARRAY) return "it does not begin with [";
  let start = opening + 1;
  let depth = 1;
  let quoteCount = 0;
  for (let i = start; i < text.length && pieces.count <= maxCount; i++) {
    const code = text.charCodeAt(i);
    if (code > QUOTE && code !== COMMA && code < OPEN_ARRAY) continue;
    switch (code) {
      case QUOTE:
        i = endOfString(text, i);
        quoteCount += 2;
        break;
      case OPEN_OBJECT:
      case OPEN_ARRAY:
        depth += 1;
        break;
      case COMMA:
        if (depth > 1) break;
        pieces.add(pieces.count, start, i, quoteCount);
        start = i + 1;
        quoteCount = 0;
        break;
      case CLOSE_OBJECT:
      case CLOSE_ARRAY:
        depth -= 1;
        if (depth > 0) break;
        if (code !== CLOSE_ARRAY || firstUnlikeSpace(text, i + 1) < text.length) {
          return "it goes on behind the array's end";
        }
        if (pieces.count > 0 || !isBlank(text, start, i)) pieces.add(pieces.count, start, i, quoteCount);
        return pieces;
    }
  }
  return pieces.count > maxCount ? pieces : "the array has no end";
}

/** Of its closing quote, or of the text. */
function endOfString(text: string, opening: number): number {
  for (let i = opening + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) return i;
    if (code === BACKSLASH) i += 1;
  }
  return text.length;
}

function isBlank(text: string, start: number, end: number): boolean {
  return firstUnlikeSpace(text, start) >= end;
}

/** Space as JSON has it: blank, tab, carriage return, line feed. */
export function firstUnlikeSpace(text: string, start: number): number {
  let i = start;
  for (; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code !== SPACE && code !== LINE_END && code !== 13 && code !== 9) break;
  }
  return i;
}

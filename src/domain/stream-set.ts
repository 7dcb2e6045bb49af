/** Some streams, by their names or by what names begin with: as a key is limited to them. */
import { type StreamSelection, selects } from "./hour-range.ts";

export const EXPECTS_STREAMS =
  "names of streams (1 to 64 of A-Z a-z 0-9 . _ -), or what names begin with and a * (shop.*)";

const PATTERN = /^([A-Za-z0-9._-]{1,64}|[A-Za-z0-9._-]{0,63}\*)$/;

export function isStreamPattern(text: string): boolean {
  return PATTERN.test(text);
}

/** `shop.*` selects all streams whose names begin with `shop.`: not `shop` itself. */
export function selectionOf(text: string): StreamSelection {
  const isPrefix = text.endsWith("*");
  return { text: isPrefix ? text.slice(0, -1) : text, isPrefix };
}

export class StreamSet {
  /** As it was given. */
  readonly patterns: readonly string[];
  readonly #selections: readonly StreamSelection[];

  constructor(patterns: readonly string[]) {
    this.patterns = patterns;
    this.#selections = patterns.map(selectionOf);
  }

  has(stream: string): boolean {
    for (const selection of this.#selections) if (selects(selection, stream)) return true;
    return false;
  }

  /** Whether all are in it that there are or may ever be. */
  hasAllOf({ text, isPrefix }: StreamSelection): boolean {
    if (!isPrefix) return this.has(text);
    return this.#selections.some((selection) => selection.isPrefix && text.startsWith(selection.text));
  }
}

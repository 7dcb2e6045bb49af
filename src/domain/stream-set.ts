/** The streams that an API key is limited to, by names and prefixes. */
import { type StreamSelection, selects } from "./hour-range.ts";

/** `shop.*` selects all streams whose names begin with `shop.`: not `shop` itself. */
export function selectionOf(text: string): StreamSelection {
  const isPrefix = text.endsWith("*");
  return { text: isPrefix ? text.slice(0, -1) : text, isPrefix };
}

export class StreamSet {
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

  /** Whether it contains every stream, present or future, of a selection. */
  hasAllOf({ text, isPrefix }: StreamSelection): boolean {
    if (!isPrefix) return this.has(text);
    return this.#selections.some((selection) => selection.isPrefix && text.startsWith(selection.text));
  }
}

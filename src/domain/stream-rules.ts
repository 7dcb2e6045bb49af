/**
 * The rules for stream names, prefixes, and sets of both. The columns of MySQL and from-query.ts repeat some; tests
 * compare them. Others rely on it that a name has no space (event.ts), colon (Redis' keys), comma (lists of streams) or
 * *, and nothing but ASCII (columns of MySQL).
 */

export const DEFAULT_STREAM = "default";
export const ALL_STREAMS = "*";
/** The characters of a name, to be put into a character class of a regular expression. */
export const STREAM_CHARACTERS = "A-Za-z0-9._-";
export const STREAM_MAX_CHARS = 64;

const LETTER = `[${STREAM_CHARACTERS}]`;
const NAME_PATTERN = `${LETTER}{1,${STREAM_MAX_CHARS}}`;
const SHORT_PREFIX_PATTERN = `${LETTER}{0,${STREAM_MAX_CHARS - 1}}`;
export const STREAM_PATTERN = `^${NAME_PATTERN}$`;
export const STREAM_SELECTION_PATTERN = `^(${NAME_PATTERN}|${SHORT_PREFIX_PATTERN}[*])$`;

const GRANT_PATTERN = `^(${NAME_PATTERN}|(${LETTER}{1,${STREAM_MAX_CHARS - 2}}[.])?[*])$`;

export const EXPECTS_STREAM = `1 to ${STREAM_MAX_CHARS} of A-Z a-z 0-9 . _ -`;
export const EXPECTS_STREAM_SELECTION = `${EXPECTS_STREAM}, or a prefix of names and a * (site.* or *)`;
export const EXPECTS_STREAM_GRANT = `${EXPECTS_STREAM}, or a branch (site.*), or * for all`;

const NAME = new RegExp(STREAM_PATTERN);
const GRANT = new RegExp(GRANT_PATTERN);

export function isStreamName(text: string): boolean {
  return NAME.test(text);
}

/**
 * Whether a right to streams may be given in these words. Unlike a question, it may not end in a plain prefix: whoever
 * grants `a*` may mean `a.*`, and would grant `abc` too.
 */
export function isStreamGrant(text: string): boolean {
  return GRANT.test(text);
}

/** One stream, or all streams whose names begin with `text` (which may be empty). */
export interface StreamSelection {
  readonly text: string;
  readonly isPrefix: boolean;
}

/** `shop.*` selects all streams whose names begin with `shop.`, but not `shop` itself. */
export function selectionOf(text: string): StreamSelection {
  const isPrefix = text.endsWith("*");
  return { text: isPrefix ? text.slice(0, -1) : text, isPrefix };
}

/** Sorts after every stream with the prefix, since names are printable ASCII. */
export function endOfPrefix(prefix: string): string {
  return `${prefix}\x7f`;
}

export function selects({ text, isPrefix }: StreamSelection, stream: string): boolean {
  return isPrefix ? stream.startsWith(text) : stream === text;
}

/** The streams that an API key may use, as names and prefixes. */
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

  /** Whether it contains every present and future stream of a selection. */
  hasAllOf({ text, isPrefix }: StreamSelection): boolean {
    if (!isPrefix) return this.has(text);
    return this.#selections.some((selection) => selection.isPrefix && text.startsWith(selection.text));
  }
}

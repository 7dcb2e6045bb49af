/** The rules for names of streams, and for patterns and prefixes of names: the one place that states them. */

export const DEFAULT_STREAM = "default";
export const ALL_STREAMS = "*";
/** As a class of a regular expression. */
export const STREAM_CHARACTERS = "A-Za-z0-9._-";
export const STREAM_MAX_CHARS = 64;

const LETTER = `[${STREAM_CHARACTERS}]`;
const NAME_PATTERN = `${LETTER}{1,${STREAM_MAX_CHARS}}`;
const SHORT_PREFIX_PATTERN = `${LETTER}{0,${STREAM_MAX_CHARS - 1}}`;
export const STREAM_PATTERN = `^${NAME_PATTERN}$`;
export const STREAM_SELECTION_PATTERN = `^(${NAME_PATTERN}|${SHORT_PREFIX_PATTERN}[*])$`;

export const EXPECTS_STREAM = `1 to ${STREAM_MAX_CHARS} of A-Z a-z 0-9 . _ -`;
export const EXPECTS_STREAM_SELECTION = `${EXPECTS_STREAM}, or a prefix of names and a * (site.* or *)`;

const NAME = new RegExp(STREAM_PATTERN);
const SELECTION = new RegExp(STREAM_SELECTION_PATTERN);

export function isStreamName(text: string): boolean {
  return NAME.test(text);
}

export function isStreamSelection(text: string): boolean {
  return SELECTION.test(text);
}

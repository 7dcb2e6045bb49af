/** The rules for users and event ids as text. from-query.ts repeats some in its single pass; a test compares both. */

/** Of ids, too. MySQL's columns are as wide (store/mysql/migrations). */
export const USER_MAX_BYTES = 255;
export const EXPECTS_USER = `1 to ${USER_MAX_BYTES} bytes of UTF-8`;
export const EXPECTS_NO_REPLACEMENT = "without U+FFFD (which stands for bytes that were not UTF-8)";

/** Decoders substitute it for invalid UTF-8, so different users would count as one. */
const REPLACEMENT = "\uFFFD";
/** A UTF-16 unit takes at most 3 bytes in UTF-8. */
const SURELY_SHORT_UNITS = Math.floor(USER_MAX_BYTES / 3);

export function isUserText(text: string): boolean {
  return isUserLength(text) && text.isWellFormed() && !hasReplacement(text);
}

export function isUserLength(text: string): boolean {
  if (text.length === 0) return false;
  return text.length <= SURELY_SHORT_UNITS || Buffer.byteLength(text) <= USER_MAX_BYTES;
}

export function hasReplacement(text: string): boolean {
  return text.includes(REPLACEMENT);
}

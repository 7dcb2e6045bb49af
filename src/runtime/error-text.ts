/** An error as one line, including its code if the message lacks it. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [text, code] = [error.message === "" ? error.name : error.message, codeOf(error)];
  return text.includes(code) ? text : `${text} (${code})`;
}

/** Such as ENOENT; empty if it has none. */
export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

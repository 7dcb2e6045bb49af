/** An error as one line, including its code if the message lacks it. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const text = error.message === "" ? error.name : error.message;
  return "code" in error && typeof error.code === "string" && !text.includes(error.code)
    ? `${text} (${error.code})`
    : text;
}

/** Which of several formats a client prefers, by its Accept header (RFC 9110, 12.5.1). */
import Negotiator from "negotiator";

export type Format = "json" | "csv" | "text";

export const CONTENT_TYPES: Record<Format, string> = {
  json: "application/json; charset=utf-8",
  csv: "text/csv; charset=utf-8; header=present",
  text: "text/plain; charset=utf-8",
};

/** Of formats that the client likes equally, the first; the first of all if it accepts none. */
export function preferredFormat(accept: string | null, offered: readonly [Format, ...Format[]]): Format {
  if (accept === null) return offered[0];
  const byType = new Map(offered.map((format) => [CONTENT_TYPES[format].split(";", 1)[0]!, format]));
  const preferred = new Negotiator({ headers: { accept } }).mediaType([...byType.keys()]);
  return byType.get(preferred ?? "") ?? offered[0];
}

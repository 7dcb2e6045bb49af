/** Which of several formats a client would like best, by its Accept header (RFC 9110, 12.5.1). */
export type Format = "json" | "csv" | "text";

export const CONTENT_TYPES: Record<Format, string> = {
  json: "application/json; charset=utf-8",
  csv: "text/csv; charset=utf-8; header=present",
  text: "text/plain; charset=utf-8",
};

/** The first of those it likes equally well, and the first of all if it takes none: better than nothing. */
export function preferredFormat(accept: string | null, offered: readonly [Format, ...Format[]]): Format {
  if (accept === null) return offered[0];
  const ranges = accept.split(",").map(rangeOf);
  let best = { format: offered[0], quality: 0 };
  for (const format of offered) {
    const quality = qualityOf(CONTENT_TYPES[format].split(";", 1)[0]!, ranges);
    if (quality > best.quality) best = { format, quality };
  }
  return best.format;
}

interface MediaRange {
  readonly type: string;
  readonly quality: number;
}

function rangeOf(text: string): MediaRange {
  const [type = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const weight = parameters.find((parameter) => parameter.startsWith("q="));
  const quality = weight === undefined ? 1 : Number(weight.slice(2));
  return { type, quality: quality >= 0 && quality <= 1 ? quality : 0 };
}

/** What the most specific range says. */
function qualityOf(type: string, ranges: readonly MediaRange[]): number {
  for (const pattern of [type, `${type.split("/", 1)[0]}/*`, "*/*"]) {
    const range = ranges.find((candidate) => candidate.type === pattern);
    if (range !== undefined) return range.quality;
  }
  return 0;
}

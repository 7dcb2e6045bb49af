/** How a content is laid out, told by its first line that is not blank. */
import { csvFields } from "../../protocol/csv.ts";
import { ImportError } from "./import-error.ts";
import { LogLines } from "./log-line.ts";

export const FORMATS = ["log", "csv", "ndjson"] as const;
export type Format = (typeof FORMATS)[number];

export interface Layout {
  readonly format: Format;
  /** Where its first record begins: behind a byte order mark, and in CSV behind the header. */
  readonly start: { readonly offset: number; readonly line: number };
  /** Of CSV: what its fields are. */
  readonly columns: readonly string[];
}

const COLUMNS = ["timestamp", "user", "event", "stream", "id"];
const NEEDED_COLUMNS = COLUMNS.slice(0, 3);
const BYTE_ORDER_MARK = Buffer.from("\uFEFF");
const SHOWN_CHARS = 80;

interface FirstLine {
  readonly text: string;
  readonly end: number;
  /** From 1. */
  readonly line: number;
}

/**
 * `head`: the first bytes of the content, or all of them. Undefined if they are blank: then there is nothing to
 * import, or nothing to tell the format by. Throws ImportError.
 */
export function layoutOf(head: Buffer, asked: Format | "auto"): Layout | undefined {
  const begin = head.indexOf(BYTE_ORDER_MARK) === 0 ? BYTE_ORDER_MARK.length : 0;
  const first = firstLine(head, begin);
  if (first === undefined) return undefined;
  const format = asked === "auto" ? formatOf(first.text) : asked;
  if (format === "csv") {
    const start = { offset: first.end, line: first.line + 1 };
    return { format, start, columns: columnsOf(first.text) };
  }
  return { format, start: { offset: begin, line: 1 }, columns: [] };
}

function firstLine(head: Buffer, begin: number): FirstLine | undefined {
  let line = 1;
  for (let start = begin; start < head.length; line++) {
    const newline = head.indexOf("\n", start);
    const end = newline === -1 ? head.length : newline + 1;
    const text = head.toString("utf8", start, end).trim();
    if (text !== "") return { text, end, line };
    start = end;
  }
  return undefined;
}

function formatOf(line: string): Format {
  if (line.startsWith("{")) return "ndjson";
  if (new LogLines().read(line) !== undefined) return "log";
  if (fieldNames(line).includes("timestamp")) return "csv";
  throw new ImportError(
    `its first line is ${shown(line)}: neither a JSON object, nor a line of a common or combined access log, ` +
      "nor a header of CSV that names a timestamp: give it another one, or say --format",
  );
}

function columnsOf(header: string): readonly string[] {
  const names = fieldNames(header);
  const unknown = names.filter((name) => !COLUMNS.includes(name));
  const missing = NEEDED_COLUMNS.filter((name) => !names.includes(name));
  const repeated = names.filter((name, i) => names.indexOf(name) !== i);
  if (unknown.length + missing.length + repeated.length === 0) return names;
  const problems = Object.entries({ unknown, missing, repeated }).filter(([, some]) => some.length > 0);
  const found = problems.map(([what, some]) => `${some.map(shown).join(", ")} ${what}`).join("; ");
  throw new ImportError(
    `its header is ${shown(header)}: ${found}; it takes timestamp, user and event, and stream and id if there ` +
      "are any, in any order",
  );
}

function fieldNames(header: string): string[] {
  return (csvFields(header) ?? []).map((name) => name.trim().toLowerCase());
}

function shown(text: string): string {
  return JSON.stringify(text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS)}…` : text);
}

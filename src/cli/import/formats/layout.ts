/** Detects the format and layout of a content from its first lines, tolerating odd ones. */
import { csvFields } from "../../../protocol/csv.ts";
import { EVENT_MEMBERS } from "../../../protocol/event/object-rules.ts";
import { ImportError } from "../import-error.ts";
import { w3cFields } from "./access-logs.ts";
import type { FieldMap } from "./json-log.ts";
import { FORMAT_NAMES, type Format, headerlessLogs } from "./known-formats.ts";

export interface Layout {
  readonly format: Format;
  /** The start of the first record, after a byte order mark and, in CSV, the header. */
  readonly start: { readonly offset: number; readonly line: number };
  /** Field names, in CSV and W3C logs. */
  readonly columns: readonly string[];
  readonly separator: string;
}

const NEEDED_COLUMNS = EVENT_MEMBERS.slice(0, 3);
const BYTE_ORDER_MARK = Buffer.from("\uFEFF");
const SEPARATORS = [",", ";", "\t"];
const SEPARATOR_LINE = /^"?sep=(.)"?$/;
const SAMPLE_LINES = 50;
const SHOWN_CHARS = 80;

interface Line {
  readonly text: string;
  readonly end: number;
  readonly number: number;
}

/** `head`: the first bytes of the content, or all of them. Undefined if they are blank. Throws ImportError. */
export function layoutOf(head: Buffer, asked: Format | "auto", fields: FieldMap = {}): Layout | undefined {
  const begin = head.indexOf(BYTE_ORDER_MARK) === 0 ? BYTE_ORDER_MARK.length : 0;
  const lines = linesOf(head, begin);
  if (lines[0] === undefined) return undefined;
  if (lines[0].text.includes("\0"))
    throw new ImportError(
      "it contains NUL bytes: decompress it unless it is gzipped; convert UTF-16 without a byte order mark to UTF-8",
    );
  const format = asked === "auto" ? formatOf(lines, fields) : asked;
  if (format === "csv") return csvLayout(lines);
  const start = { offset: begin, line: 1 };
  if (format !== "w3c") return { format, start, columns: [], separator: "" };
  const columns = lines.map(({ text }) => w3cFields(text)).find((names) => names !== undefined);
  if (columns === undefined) throw new ImportError("it lacks the line #Fields: of a W3C log, which names the fields");
  return { format, start, columns, separator: "" };
}

/** The first non-blank lines; the last one may be truncated. */
function linesOf(head: Buffer, begin: number): Line[] {
  const lines: Line[] = [];
  let number = 1;
  for (let start = begin; start < head.length && lines.length < SAMPLE_LINES; number++) {
    const newline = head.indexOf("\n", start);
    const end = newline === -1 ? head.length : newline + 1;
    // Trailing tabs may separate empty fields.
    const text = head
      .toString("utf8", start, end)
      .replace(/^ +/, "")
      .replace(/[ \r\n]+$/, "");
    if (text.trim() !== "") lines.push({ text, end, number });
    start = end;
  }
  return lines;
}

function formatOf(lines: readonly Line[], fields: FieldMap): Format {
  const { text: first } = lines[0]!;
  if (SEPARATOR_LINE.test(first) || isHeader(first)) return "csv";
  if (lines.some(({ text }) => w3cFields(text) !== undefined)) return "w3c";
  const readers = headerlessLogs({ fields });
  const votes = new Map<Format, number>();
  for (const { text } of lines) {
    const format = isEventObject(text) ? "ndjson" : readers.find(([, read]) => read(text) !== undefined)?.[0];
    if (format !== undefined) votes.set(format, (votes.get(format) ?? 0) + 1);
  }
  if (votes.size === 0 && first.startsWith("{")) return "ndjson";
  const [winner] = Array.from(votes).sort(([, a], [, b]) => b - a);
  if (winner !== undefined) return winner[0];
  throw new ImportError(
    `cannot tell its format: its first line is ${shown(first)}. Set --format (${FORMAT_NAMES.join(", ")}), or ` +
      "--log-format with the format string of the server that wrote it",
  );
}

function isEventObject(text: string): boolean {
  return text.startsWith("{") && text.includes('"timestamp"') && text.includes('"event"');
}

function isHeader(text: string): boolean {
  return SEPARATORS.some((separator) => fieldNames(text, separator).includes("timestamp"));
}

function csvLayout(lines: readonly Line[]): Layout {
  const [first, second] = lines as [Line, Line | undefined];
  const [, said] = SEPARATOR_LINE.exec(first.text) ?? [];
  const header = said === undefined ? first : second;
  if (header === undefined) throw new ImportError("it has no header");
  const widest = (a: string, b: string) => fieldNames(header.text, b).length - fieldNames(header.text, a).length;
  const separator = said ?? SEPARATORS.toSorted(widest)[0]!;
  const start = { offset: header.end, line: header.number + 1 };
  return { format: "csv", start, columns: columnsOf(header.text, separator), separator };
}

function columnsOf(header: string, separator: string): readonly string[] {
  const names = fieldNames(header, separator);
  const unknown = names.filter((name) => !EVENT_MEMBERS.includes(name));
  const missing = NEEDED_COLUMNS.filter((name) => !names.includes(name));
  const repeated = names.filter((name, i) => names.indexOf(name) !== i);
  if (unknown.length + missing.length + repeated.length === 0) return names;
  const problems = Object.entries({ unknown, missing, repeated }).filter(([, some]) => some.length > 0);
  const found = problems.map(([what, some]) => `${some.map(shown).join(", ")} ${what}`).join("; ");
  throw new ImportError(
    `its header is ${shown(header)}: ${found}; expected timestamp, user and event, and perhaps stream and id, in ` +
      "any order",
  );
}

function fieldNames(header: string, separator: string): string[] {
  return (csvFields(header, separator) ?? []).map((name) => name.trim().toLowerCase());
}

function shown(text: string): string {
  return JSON.stringify(text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS)}…` : text);
}

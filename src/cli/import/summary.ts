/** The summary of an import. */
import { DAY_MS } from "../../domain/event.ts";
import { RANGE_MAX_HOURS } from "../../domain/hour-range.ts";
import { amount, grouped } from "../shared/amounts.ts";
import type { Tally } from "./content-import.ts";
import type { LeftOut } from "./event-reader.ts";

export interface Summary {
  readonly files: readonly Tally[];
  readonly seconds: number;
  /** Why it could not finish. */
  readonly error: string | undefined;
  readonly url: string;
}

const NAMES: Readonly<Record<LeftOut, readonly [one: string, several: string]>> = {
  bots: ["bot", "bots"],
  assets: ["asset", "assets"],
  "other statuses": ["other status", "other statuses"],
  "other methods": ["other method", "other methods"],
  "other paths": ["other path", "other paths"],
  "no requests": ["line without a request", "lines without a request"],
};
const TOO_LATE =
  "begun more than 23 h ago, so the lines that did not count are not read again: import them from a file of their own";
const RANGE_MAX_DAYS = Math.floor(RANGE_MAX_HOURS / 24);

export function newTally(file: string): Tally {
  const counts = { lines: 0, accepted: 0, duplicates: 0, bad: 0, skipped: 0 };
  return {
    file,
    status: "failed",
    fromLine: 1,
    ...counts,
    leftOut: {},
    days: new Set(),
    streams: new Set(),
    isUnfinished: false,
    badBefore: 0,
    isTooLate: false,
    isReadAgain: false,
  };
}

export function withTotals({ files, seconds, error, url }: Summary) {
  const sum = (name: "lines" | "accepted" | "duplicates" | "bad" | "skipped") =>
    files.reduce((total, file) => total + file[name], 0);
  const leftOut: Record<string, number> = {};
  for (const file of files) {
    for (const [reason, count] of Object.entries(file.leftOut)) leftOut[reason] = (leftOut[reason] ?? 0) + count;
  }
  const counted = files.filter(({ accepted, duplicates }) => accepted + duplicates > 0);
  const days = [...new Set(counted.flatMap((file) => [...file.days]))].sort((a, b) => a - b);
  const streams = new Set(counted.flatMap((file) => [...file.streams]));
  return {
    lines: sum("lines"),
    accepted: sum("accepted"),
    duplicates: sum("duplicates"),
    bad: sum("bad"),
    skipped: sum("skipped"),
    leftOut,
    days: days.map(dayText),
    ...(days.length > 0 && whereToSee(url, streams, days)),
    seconds: Number(seconds.toFixed(3)),
    ...(error === undefined ? {} : { error }),
    files: files.map((file) => ({ ...file, days: undefined, streams: undefined })),
  };
}

function dayText(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10);
}

/** Covers only the last days if there are more than one answer may have. */
function whereToSee(url: string, streams: ReadonlySet<string>, days: readonly number[]) {
  const to = days.at(-1)! + 1;
  const range = `from=${dayText(Math.max(days[0]!, to - RANGE_MAX_DAYS))}&to=${dayText(to)}`;
  const [stream] = streams;
  if (streams.size > 1) return { streamsUrl: `${url}/streams?${range}` };
  return { seriesUrl: `${url}/series?stream=${encodeURIComponent(stream!)}&${range}&step=day` };
}

export function summaryText(summary: Summary): string {
  const totals: ReturnType<typeof withTotals> & { seriesUrl?: string; streamsUrl?: string } = withTotals(summary);
  const { accepted, duplicates, bad, lines, seconds, leftOut, days } = totals;
  const where = totals.seriesUrl ?? totals.streamsUrl;
  const rate = lines === 0 ? "" : `, ${grouped(Math.round(lines / summary.seconds))}/s`;
  const reasons = Object.entries(leftOut).map(([reason, count]) => amount(count, ...NAMES[reason as LeftOut]));
  const total =
    `${amount(accepted, "event")} accepted, ${amount(duplicates, "duplicate")}, ${amount(bad, "bad line")}; ` +
    `${amount(lines, "line")} in ${seconds.toFixed(1)} s${rate}`;
  return [
    ...summary.files.map(fileText),
    ...(reasons.length > 0 ? [`left out: ${reasons.join(", ")}`] : []),
    ...(days.length > 0 ? [daysText(days), `see them: ${where}`] : []),
    total,
  ].join("\n");
}

function daysText(days: readonly string[]): string {
  return days.length === 1 ? `day (UTC): ${days[0]}` : `${days.length} days (UTC): ${days[0]} to ${days.at(-1)}`;
}

function fileText(tally: Tally): string {
  const { file, status, copyOf, fromLine, lines, accepted, duplicates, bad, skipped, isUnfinished } = tally;
  const { badBefore, isTooLate, isReadAgain } = tally;
  if (status === "copy") return `${file}: is a copy of ${copyOf}: its lines count once, and were skipped`;
  const as = copyOf === undefined ? "" : `, as ${copyOf}`;
  const before = badBefore === 0 ? [] : [`${amount(badBefore, "line")} of it ${badBefore === 1 ? "was" : "were"} bad`];
  const rest = [...before, ...(isTooLate ? [TOO_LATE] : [])];
  if (status === "known") return [`${file}: was imported before${as}, to its end: skipped`, ...rest].join("; ");
  if (status === "empty") return `${file}: is empty`;
  const counts = `${grouped(accepted)} accepted, ${amount(duplicates, "duplicate")}, ${grouped(bad)} bad`;
  const notes = [
    ...(isReadAgain ? ["read again, since lines of it did not count"] : []),
    ...(fromLine > 1 ? [`went on at line ${fromLine}`] : []),
    ...rest,
    `${amount(lines, "line")}: ${counts}`,
    ...(skipped > 0 ? [`${grouped(skipped)} skipped`] : []),
    ...(isUnfinished ? ["its last line has no end yet: run it again, or with --last-line"] : []),
    ...(status === "stopped" ? ["stopped at a bad line"] : []),
    ...(status === "failed" ? ["not to its end"] : []),
  ];
  return `${file}: ${notes.join("; ")}`;
}

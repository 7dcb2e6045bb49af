/** The summary of an import. */
import { DAY_MS } from "../../domain/event.ts";
import type { Tally } from "./content-import.ts";
import { grouped } from "./report.ts";

export interface Summary {
  readonly files: readonly Tally[];
  readonly seconds: number;
  /** Why it could not finish. */
  readonly error: string | undefined;
  readonly url: string;
  readonly stream: string;
}

export function newTally(file: string): Tally {
  const counts = { lines: 0, accepted: 0, duplicates: 0, bad: 0, skipped: 0 };
  return { file, status: "failed", fromLine: 1, ...counts, leftOut: {}, days: new Set(), isUnfinished: false };
}

export function withTotals({ files, seconds, error, url, stream }: Summary) {
  const sum = (name: "lines" | "accepted" | "duplicates" | "bad" | "skipped") =>
    files.reduce((total, file) => total + file[name], 0);
  const leftOut: Record<string, number> = {};
  for (const file of files) {
    for (const [reason, count] of Object.entries(file.leftOut)) leftOut[reason] = (leftOut[reason] ?? 0) + count;
  }
  const days = [...new Set(files.flatMap((file) => [...file.days]))].sort((a, b) => a - b).map(dayText);
  return {
    lines: sum("lines"),
    accepted: sum("accepted"),
    duplicates: sum("duplicates"),
    bad: sum("bad"),
    skipped: sum("skipped"),
    leftOut,
    days,
    ...(days.length > 0 && { seriesUrl: seriesUrl(url, stream, days) }),
    seconds: Number(seconds.toFixed(3)),
    ...(error === undefined ? {} : { error }),
    files: files.map((file) => ({ ...file, days: undefined })),
  };
}

function dayText(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10);
}

function seriesUrl(url: string, stream: string, days: readonly string[]): string {
  const to = new Date(Date.parse(days.at(-1)!) + DAY_MS).toISOString().slice(0, 10);
  return `${url}/series?stream=${stream}&from=${days[0]}&to=${to}&step=day`;
}

export function summaryText(summary: Summary): string {
  const { accepted, duplicates, bad, lines, seconds, leftOut, days, seriesUrl: where } = withTotals(summary);
  const rate = grouped(Math.round(lines / summary.seconds));
  const reasons = Object.entries(leftOut).map(([reason, count]) => `${grouped(count)} ${reason}`);
  const total =
    `${grouped(accepted)} events accepted, ${grouped(duplicates)} duplicates, ${grouped(bad)} bad lines; ` +
    `${grouped(lines)} lines in ${seconds.toFixed(1)} s, ${rate}/s`;
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
  const { file, status, fromLine, lines, accepted, duplicates, bad, skipped, isUnfinished } = tally;
  if (status === "known") return `${file}: was imported before, to its end: skipped`;
  if (status === "empty") return `${file}: is empty`;
  const counts = `${grouped(accepted)} accepted, ${grouped(duplicates)} duplicates, ${grouped(bad)} bad`;
  const notes = [
    ...(fromLine > 1 ? [`went on at line ${fromLine}`] : []),
    `${grouped(lines)} lines: ${counts}`,
    ...(skipped > 0 ? [`${grouped(skipped)} skipped`] : []),
    ...(isUnfinished ? ["its last line has no end yet: run it again, or with --last-line"] : []),
    ...(status === "stopped" ? ["stopped at a bad line"] : []),
    ...(status === "failed" ? ["not to its end"] : []),
  ];
  return `${file}: ${notes.join("; ")}`;
}

/**
 * Finds what a log that is followed was renamed to, in its folder.
 * Invariant: a file of which nothing is known is read only if it is newer than one that was imported.
 */
import { readdirSync, statSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { Content, type Source, sourcesOf } from "./content.ts";
import { earlierImport } from "./earlier.ts";
import { RECORD_MAX_BYTES } from "./record-splitter.ts";
import type { ImportRecord } from "./state-file.ts";

/** What follows `access.log` in access.log.1, access.log.2.gz, access.log-20260131. */
const ROTATED = /^[.-]\d[\d._-]*(\.\w+)?$/;
/** A date and what follows it, in access-2026-01-31T12-00-00.000.log, access-20260131.log.gz, …000-size.log. */
const ROTATED_INFIX = /^[.-]\d{4}-?\d\d-?\d\d[\dTZ._-]*(-[a-z]+)?(\.\w+)(\.\w+)?$/;

/** Whether servers or logrotate give this name to what was the file `name`. */
export function isRotatedName(other: string, name: string): boolean {
  if (other.startsWith(name) && ROTATED.test(other.slice(name.length))) return true;
  const extension = extname(name);
  const stem = basename(name, extension);
  return other.startsWith(stem) && ROTATED_INFIX.exec(other.slice(stem.length))?.[2] === extension;
}

/**
 * Rotated files of which an earlier run has not imported all, oldest first: those that it began, and those that are
 * newer than one that it knows, which came and were rotated while nothing followed the log.
 */
export async function rotatedFrom(path: string, records: readonly ImportRecord[]): Promise<Source[]> {
  const [folder, name] = [dirname(path), basename(path)];
  const rotated = readdirSync(folder).filter((other) => isRotatedName(other, name));
  const open: Source[] = [];
  let isAnyKnown = false;
  for (const rotatedPath of byAge(rotated.map((other) => join(folder, other)))) {
    const source = sourcesOf([rotatedPath])[0]!;
    const content = new Content(source);
    const head = await content.head(RECORD_MAX_BYTES).finally(() => content.close());
    const earlier = await earlierImport(source, head, records).catch(() => undefined);
    if (earlier === undefined ? isAnyKnown : !earlier.isWhole) open.push(source);
    isAnyKnown ||= earlier !== undefined;
  }
  return open;
}

function byAge(paths: readonly string[]): string[] {
  return paths.toSorted((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs);
}

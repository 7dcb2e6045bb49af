/**
 * Finds the rotated files of a followed log that earlier runs did not finish.
 *
 * Invariant: only its content tells whether a file was imported. Names tell which files are older than every imported
 * one, so from before the log was followed. The modification time does not: compressing a file may change it.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { Content, type Source, sourcesOf } from "./content.ts";
import { earlierImport } from "./earlier.ts";
import { isDoubtful } from "./progress.ts";
import { RECORD_MAX_BYTES } from "./records-and-ids.ts";
import type { ImportRecord } from "./state-file.ts";

/** The rest of the name in access.log.1, access.log.2.gz, access.log-20260131. */
const ROTATED = /^([.-]\d[\d._-]*?)(\.\w*[a-z]\w*)?$/i;
/** The date and rest of the name in access-2026-01-31T12-00-00.000.log, access-20260131.log.gz, …000-size.log. */
const ROTATED_INFIX = /^([.-]\d{4}-?\d\d-?\d\d[\dTZ._-]*)(-[a-z]+)?(\.\w+)(\.\w+)?$/;
/** Shorter than any date. */
const NUMBER = /^(\.\d{1,5}|-\d{1,3})$/;
const DATE = /^(\d{4})[-._]?(\d\d)[-._]?(\d\d)/;
const { compare: compareDates } = new Intl.Collator("en", { numeric: true });

/** The age of a rotated file by its name: the higher the number, or the lower the date, the older it is. */
type Rotation = { readonly number: number } | { readonly date: string };

/** Undefined unless servers or logrotate rename the file `name` like this. */
export function rotationOf(other: string, name: string): Rotation | undefined {
  const mark = rotationMark(other, name);
  if (mark === undefined) return undefined;
  if (NUMBER.test(mark)) return { number: Number(mark.slice(1)) };
  return { date: mark.slice(1).replace(DATE, "$1$2$3") };
}

function rotationMark(other: string, name: string): string | undefined {
  const suffix = other.startsWith(name) ? ROTATED.exec(other.slice(name.length))?.[1] : undefined;
  if (suffix !== undefined) return suffix;
  const extension = extname(name);
  const stem = basename(name, extension);
  const infix = other.startsWith(stem) ? ROTATED_INFIX.exec(other.slice(stem.length)) : null;
  return infix?.[3] === extension ? infix[1] : undefined;
}

interface RotatedFiles {
  /** Not completely imported, oldest first: some were begun, others were written while no import ran. */
  readonly open: readonly Source[];
  /** Never imported, and not known to be newer than an imported one. */
  readonly older: readonly string[];
}

export async function rotatedFiles(path: string, records: readonly ImportRecord[]): Promise<RotatedFiles> {
  const open: Source[] = [];
  const older: string[] = [];
  let isAnyKnown = false;
  for (const rotatedPath of oldestFirst(dirname(path), basename(path))) {
    const state = await importState(rotatedPath, records);
    if (state === "unknown" && !isAnyKnown) older.push(rotatedPath);
    else if (state === "unknown" || state === "begun") open.push(...sourcesOf([rotatedPath]));
    isAnyKnown ||= state === "begun" || state === "done";
  }
  return { open, older };
}

/** "missing": it was just renamed or compressed. A later call finds it under its new name. */
async function importState(path: string, records: readonly ImportRecord[]) {
  try {
    const [source] = sourcesOf([path]);
    const content = new Content(source!);
    const head = await content.head(RECORD_MAX_BYTES).finally(() => content.close());
    const earlier = await earlierImport(source!, head, records, new Set());
    if (earlier === undefined) return "unknown";
    return earlier.isWhole && !isDoubtful(earlier.record) ? "done" : "begun";
  } catch {
    return existsSync(path) ? "unknown" : "missing";
  }
}

interface Placed {
  readonly path: string;
  readonly rotation: Rotation;
}

function oldestFirst(folder: string, name: string): string[] {
  const all = new Set(existsSync(folder) ? readdirSync(folder) : []);
  // A file beside the one that it is compressed from may be incomplete.
  const whole = [...all].filter((other) => !(other.endsWith(".gz") && all.has(basename(other, ".gz"))));
  const placed = whole.flatMap((other): Placed[] => {
    const rotation = rotationOf(other, name);
    return rotation === undefined ? [] : [{ path: join(folder, other), rotation }];
  });
  const numberOf = ({ rotation }: Placed) => ("number" in rotation ? rotation.number : undefined);
  const dateOf = ({ rotation }: Placed) => ("date" in rotation ? rotation.date : "");
  const numbered = placed.filter((file) => numberOf(file) !== undefined);
  const dated = placed.filter((file) => numberOf(file) === undefined);
  numbered.sort((a, b) => numberOf(b)! - numberOf(a)!);
  dated.sort((a, b) => compareDates(dateOf(a), dateOf(b)));
  return merged(numbered, dated).map(({ path }) => path);
}

/** Only between a number and a date does the time of change tell which file is older. */
function merged(numbered: Placed[], dated: Placed[]): Placed[] {
  const all: Placed[] = [];
  while (numbered.length > 0 && dated.length > 0) {
    all.push((changedAt(numbered[0]!) <= changedAt(dated[0]!) ? numbered : dated).shift()!);
  }
  return [...all, ...numbered, ...dated];
}

function changedAt({ path }: Placed): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

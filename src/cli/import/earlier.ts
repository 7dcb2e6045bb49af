/**
 * Finds how far a content was imported, by this run or earlier ones, and refuses one that was changed since.
 *
 * A content that begins with everything imported from another file is that file, renamed, compressed or grown; unless
 * the other file is still there, and is different: see isOfAnotherFile().
 */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { Content, type Source, sourcesOf } from "./content.ts";
import { ImportError } from "./import-error.ts";
import { sha256Of } from "./records-and-ids.ts";
import { HEAD_BYTES, type ImportRecord } from "./state-file.ts";

const LINE_END = 10;
const RETURN = 13;
const DIRECTIVE = "#".charCodeAt(0);
const LINE_HASH_BYTES = 4;

interface EarlierImport {
  readonly record: ImportRecord;
  readonly isWhole: boolean;
}

/**
 * Undefined if none of it was ever sent. Reads the content only if it begins like an imported one, and no further than
 * needed. `head`: its first bytes. `paths`: of all files of this run. Throws ImportError.
 */
export async function earlierImport(
  source: Source,
  head: Buffer,
  records: readonly ImportRecord[],
  paths: ReadonlySet<string>,
): Promise<EarlierImport | undefined> {
  const alike = records.filter(({ headBytes, headSha256 }) => {
    return head.length >= headBytes && isSame(sha256Of(head.subarray(0, headBytes)), headSha256);
  });
  if (alike.length === 0) return undefined;
  for (const found of await prefixes(source, alike)) {
    if (found.isWhole || !(await isOfAnotherFile(found.record, source, paths))) return found;
  }
  for (const { path, ...record } of alike) {
    if (await isOfAnotherFile({ ...record, path }, source, paths)) continue;
    throw changed(
      `${source.name} begins like ${path}, which was imported before, but then differs: it was changed, or a part is ` +
        "missing",
    );
  }
  return undefined;
}

/**
 * Whether the record's file is still there, and is not this one. A file that begins with more than some lines of
 * another one is a later copy of it, unless this run imports both.
 */
async function isOfAnotherFile(record: ImportRecord, source: Source, paths: ReadonlySet<string>): Promise<boolean> {
  const { path, headBytes, headSha256, sentBytes } = record;
  const isApart = paths.has(path) || sentBytes < HEAD_BYTES;
  if (!isApart || path === resolve(source.path!) || isOneFile(path, source.path!)) return false;
  const head = await hashOf(path, headBytes);
  return (
    head !== undefined && isSame(head, headSha256) && !isSame((await hashOf(path))!, (await hashOf(source.path!))!)
  );
}

function isOneFile(...paths: [string, string]): boolean {
  const [one, other] = paths.map((path) => statSync(path, { throwIfNoEntry: false }));
  return one?.dev === other?.dev && one?.ino === other?.ino;
}

/** The hash of a file's first bytes, or of all; undefined if it can't be read. */
async function hashOf(path: string, bytes = Number.POSITIVE_INFINITY): Promise<Uint8Array | undefined> {
  const hasher = new Bun.CryptoHasher("sha256");
  let left = bytes;
  try {
    const content = new Content(sourcesOf([path])[0]!);
    try {
      for await (const block of content.blocks()) {
        hasher.update(block.subarray(0, left));
        left -= block.length;
        if (left <= 0) break;
      }
    } finally {
      await content.close();
    }
  } catch {
    return undefined;
  }
  return hasher.digest();
}

function changed(what: string): ImportError {
  return new ImportError(
    `${what}. Importing it would count the common part twice. Import what is new from a file of its own; or, to ` +
      "count all of it, use another --state",
  );
}

/** Empty if there is none. */
export function firstLineHash(lines: Buffer): Buffer {
  return lineHashes(lines).subarray(0, LINE_HASH_BYTES);
}

/**
 * Hashes of the complete lines of events in `head`, or of its only one, so that a content is recognized after some of
 * them changed.
 */
export function lineHashes(head: Buffer): Buffer {
  const hashes: Buffer[] = [];
  let start = 0;
  while (start < head.length) {
    const newline = head.indexOf(LINE_END, start);
    if (newline === -1 && hashes.length > 0) break;
    const end = newline === -1 ? head.length : newline;
    const line = head.subarray(start, head[end - 1] === RETURN ? end - 1 : end);
    if (line.length > 0 && line[0] !== DIRECTIVE) hashes.push(sha256Of(line).subarray(0, LINE_HASH_BYTES));
    start = end + 1;
  }
  return Buffer.concat(hashes);
}

/**
 * Throws ImportError if at least half of the first lines of a content imported from the same path are in `head`, the
 * first bytes of a content that begins differently. `imported`: the line hashes of each.
 */
export function refuseChanged(source: Source, head: Buffer, imported: readonly Uint8Array[]): void {
  const found = hashSet(lineHashes(head));
  for (const hashes of imported) {
    const lines = hashSet(hashes);
    const { size } = lines.intersection(found);
    if (lines.size === 0 || size * 2 < lines.size) continue;
    throw changed(
      `${source.name} was imported before, and then changed near its beginning: ${size} of its first ` +
        `${lines.size} lines are still in it, and others are not`,
    );
  }
}

function hashSet(bytes: Uint8Array): Set<number> {
  const view = Buffer.from(bytes);
  const count = view.length / LINE_HASH_BYTES;
  return new Set(Array.from({ length: count }, (_, i) => view.readUInt32LE(i * LINE_HASH_BYTES)));
}

/** The records that are prefixes of this content: first those of its path, then by length, the longest first. */
async function prefixes(source: Source, records: readonly ImportRecord[]): Promise<EarlierImport[]> {
  const open = records.toSorted((a, b) => a.sentBytes - b.sentBytes);
  const hasher = new Bun.CryptoHasher("sha256");
  const content = new Content(source);
  const found: ImportRecord[] = [];
  let offset = 0;
  try {
    for await (const block of content.blocks()) {
      let hashed = 0;
      while (open[0] !== undefined && open[0].sentBytes <= offset + block.length) {
        const next = open.shift()!;
        hasher.update(block.subarray(hashed, next.sentBytes - offset));
        hashed = next.sentBytes - offset;
        if (isSame(hasher.copy().digest(), next.sentSha256)) found.unshift(next);
      }
      hasher.update(block.subarray(hashed));
      offset += block.length;
      if (open.length === 0 && (found[0] === undefined || offset > found[0].sentBytes)) break;
    }
  } finally {
    await content.close();
  }
  const isElsewhere = ({ path }: ImportRecord) => Number(path !== resolve(source.path!));
  found.sort((a, b) => isElsewhere(a) - isElsewhere(b));
  return found.map((record) => ({ record, isWhole: offset === record.sentBytes }));
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

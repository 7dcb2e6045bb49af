/**
 * Finds how far earlier runs imported a content, and the rotated files of a followed log.
 * Invariant: a rotated file unknown to earlier runs is read only if it is newer than an imported one.
 */

import { readdirSync, statSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { Content, type Source, sourcesOf } from "./content.ts";
import { sha256Of } from "./event-ids.ts";
import { ImportError } from "./import-error.ts";
import { RECORD_MAX_BYTES } from "./record-splitter.ts";
import type { ImportRecord } from "./state-file.ts";

interface EarlierImport {
  readonly record: ImportRecord;
  readonly isWhole: boolean;
}

/**
 * Undefined if none of it was ever sent. Reads the content only if it begins like an imported one, and no further than
 * needed. `head`: its first bytes. Throws ImportError.
 */
export async function earlierImport(
  source: Source,
  head: Buffer,
  records: readonly ImportRecord[],
): Promise<EarlierImport | undefined> {
  const alike = records.filter(({ headBytes, headSha256 }) => {
    return head.length >= headBytes && isSame(sha256Of(head.subarray(0, headBytes)), headSha256);
  });
  if (alike.length === 0) return undefined;
  const found = await longestPrefix(source, alike);
  if (found !== undefined) return found;
  const { path } = alike[0]!;
  throw new ImportError(
    `${source.name} begins like ${path}, which was imported before, but then differs: it was changed, or a ` +
      "part is missing. Importing it would count the common part twice. Import what is new from a file of its " +
      "own; or, to count all of it, use another --state",
  );
}

/** The longest record that is a prefix of this content. */
async function longestPrefix(source: Source, records: readonly ImportRecord[]): Promise<EarlierImport | undefined> {
  const open = records.toSorted((a, b) => a.sentBytes - b.sentBytes);
  const hasher = new Bun.CryptoHasher("sha256");
  const content = new Content(source);
  let record: ImportRecord | undefined;
  let offset = 0;
  try {
    for await (const block of content.blocks()) {
      let hashed = 0;
      while (open[0] !== undefined && open[0].sentBytes <= offset + block.length) {
        const next = open.shift()!;
        hasher.update(block.subarray(hashed, next.sentBytes - offset));
        hashed = next.sentBytes - offset;
        if (isSame(hasher.copy().digest(), next.sentSha256)) record = next;
      }
      hasher.update(block.subarray(hashed));
      offset += block.length;
      if (open.length === 0 && (record === undefined || offset > record.sentBytes)) break;
    }
  } finally {
    await content.close();
  }
  return record && { record, isWhole: offset === record.sentBytes };
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** The rest of the name in access.log.1, access.log.2.gz, access.log-20260131. */
const ROTATED = /^[.-]\d[\d._-]*(\.\w+)?$/;
/** The date and rest of the name in access-2026-01-31T12-00-00.000.log, access-20260131.log.gz, …000-size.log. */
const ROTATED_INFIX = /^[.-]\d{4}-?\d\d-?\d\d[\dTZ._-]*(-[a-z]+)?(\.\w+)(\.\w+)?$/;

/** Whether servers or logrotate rename the file `name` like this. */
export function isRotatedName(other: string, name: string): boolean {
  if (other.startsWith(name) && ROTATED.test(other.slice(name.length))) return true;
  const extension = extname(name);
  const stem = basename(name, extension);
  return other.startsWith(stem) && ROTATED_INFIX.exec(other.slice(stem.length))?.[2] === extension;
}

/**
 * Rotated files that are not completely imported, oldest first: files that an earlier run began, and files newer than a
 * known one, which were written and rotated while nothing followed the log.
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

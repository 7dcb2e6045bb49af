/** Finds how far earlier runs imported a content, and refuses one that was changed since. */
import { Content, type Source } from "./content.ts";
import { ImportError } from "./import-error.ts";
import { sha256Of } from "./records-and-ids.ts";
import type { ImportRecord } from "./state-file.ts";

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
  throw changed(
    `${source.name} begins like ${path}, which was imported before, but then differs: it was changed, or a part is ` +
      "missing",
  );
}

function changed(what: string): ImportError {
  return new ImportError(
    `${what}. Importing it would count the common part twice. Import what is new from a file of its own; or, to ` +
      "count all of it, use another --state",
  );
}

/** Hashes of the complete lines of events in `head`, so that a content is recognized after some of them changed. */
export function lineHashes(head: Buffer): Buffer {
  const hashes: Buffer[] = [];
  let start = 0;
  for (let end = head.indexOf(LINE_END); end !== -1; end = head.indexOf(LINE_END, start)) {
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

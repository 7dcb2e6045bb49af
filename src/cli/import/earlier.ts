/** Finds how far earlier runs imported a content. */
import { Content, type Source } from "./content.ts";
import { sha256Of } from "./event-ids.ts";
import { ImportError } from "./import-error.ts";
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

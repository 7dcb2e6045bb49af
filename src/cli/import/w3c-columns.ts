/** Finds the fields that hold where the import of a W3C log resumes. */
import { Content, type Source } from "./content.ts";
import { w3cFields } from "./formats/access-logs.ts";
import type { Layout } from "./formats/layout.ts";
import { RecordSplitter } from "./records-and-ids.ts";

/** Those of the last line `#Fields:` before `offset`. Reads the file up to there. Throws ImportError. */
export async function w3cColumnsAt(offset: number, source: Source, { start, columns }: Layout) {
  let last = columns;
  const splitter = new RecordSplitter(start, false);
  const content = new Content(source);
  try {
    for await (const block of content.blocks()) {
      for (const record of splitter.split(block)) {
        if (record.start >= offset) return last;
        if (record.problem === undefined) last = w3cFields(record.bytes.toString()) ?? last;
      }
    }
    return last;
  } finally {
    await content.close();
  }
}

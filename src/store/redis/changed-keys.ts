/**
 * Recovers from keys that something else has changed or deleted (an error reply or a damaged sketch). What they held is
 * lost.
 *
 * Invariant: afterwards the data set is not initialized, so it is initialized again without them.
 */
import { HotUnavailableError } from "../hot.ts";
import type { Keys } from "./keys.ts";
import { flag, isReply, type RunScript, script, text } from "./link.ts";
import mendSource from "./scripts/changed-keys/mend.lua" with { type: "text" };
import reindexSource from "./scripts/changed-keys/reindex.lua" with { type: "text" };

const MEND = script("mend", mendSource);
const REINDEX = script("reindex", reindexSource);

export class DamagedSketchError extends HotUnavailableError {}

/**
 * If `error` tells of damage, repairs it among the `involved` keys of the script. PFCOUNT reports keys that are not
 * sketches or are damaged ones; any command reports keys of another type. Our scripts report keys that are missing.
 */
export async function mendAfter(
  error: unknown,
  involved: readonly string[],
  keys: Keys,
  run: RunScript,
): Promise<void> {
  if (isReply(error, /^(WRONGTYPE|INVALIDOBJ|MISSINGKEY)/)) await mend(involved, keys, run);
}

export async function mend(involved: readonly string[], keys: Keys, run: RunScript): Promise<void> {
  const { prefix, meta, writers, hours, newWriters, newHours } = keys;
  const isIndex = await run(MEND, [meta, ...involved], [prefix], flag);
  if (!isIndex) return;
  let cursor = "0";
  do cursor = await run(REINDEX, [meta, writers, hours, newWriters, newHours], [prefix, cursor], text);
  while (cursor !== "0");
}

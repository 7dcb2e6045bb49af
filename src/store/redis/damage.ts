/**
 * Keys that something else has changed, which a command names or a sketch shows: what they held is lost.
 *
 * Invariant: after that the data set is no longer initialized, so that it is set up anew without them.
 */
import { ErrorReply } from "redis";
import { HotUnavailableError } from "../hot.ts";
import type { Keys } from "./keys.ts";
import { flag, type RunScript, script, text } from "./link.ts";
import mendSource from "./scripts/damage/mend.lua" with { type: "text" };
import reindexSource from "./scripts/damage/reindex.lua" with { type: "text" };

const MEND = script("mend", mendSource);
const REINDEX = script("reindex", reindexSource);

export class DamagedSketchError extends HotUnavailableError {}

export function isReply(error: unknown, pattern: RegExp): boolean {
  if (!(error instanceof HotUnavailableError && error.cause instanceof ErrorReply)) return false;
  return pattern.test(error.cause.message);
}

/** PFCOUNT says so of what is no sketch, or no whole one; every command, of a key of another type. */
function isDamage(error: unknown): boolean {
  return error instanceof DamagedSketchError || isReply(error, /^(WRONGTYPE|INVALIDOBJ)/);
}

/** Answers as `running` does. `involved`: the keys that it was given. `run`: over the same connection. */
export async function mending<T>(
  running: Promise<T>,
  involved: readonly string[],
  keys: Keys,
  run: RunScript,
): Promise<T> {
  try {
    return await running;
  } catch (error) {
    if (isDamage(error)) await mend(involved, keys, run);
    throw error;
  }
}

async function mend(involved: readonly string[], keys: Keys, run: RunScript): Promise<void> {
  const { prefix, meta, writers, hours, newWriters, newHours } = keys;
  const isIndex = await run(MEND, [meta, ...involved], [prefix], flag);
  if (!isIndex) return;
  let cursor = "0";
  do cursor = await run(REINDEX, [meta, writers, hours, newWriters, newHours], [prefix, cursor], text);
  while (cursor !== "0");
}

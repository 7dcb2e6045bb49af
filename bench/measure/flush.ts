/** How far rows lag behind answers, and how long until they no longer do. */
import { waitFor } from "../../test/harness/service/wait-for.ts";
import type { Running } from "../candidates.ts";
import type { FlushResult } from "../results.ts";

interface Drained {
  readonly atMs: number;
  readonly rows: number;
}

const INTERVAL_MS = 20;
const TIMEOUT_MS = 120_000;

/** Called as soon as a load has ended. Undefined if no event becomes a row after its answer. */
export async function flushBehind(running: Running, eventsPerS: number): Promise<FlushResult | undefined> {
  if (running.rows === undefined) return undefined;
  const endMs = performance.now();
  const rows = await running.rows.persisted();
  const drained = await waitForDrain(running);
  const backlogEvents = Math.max(0, drained.rows - rows);
  return { backlogEvents, lagS: backlogEvents / eventsPerS, drainMs: drained.atMs - endMs };
}

/** Answers how many rows there are then, and when that was seen. */
export async function waitForDrain({ rows, process: { port } }: Running): Promise<Drained> {
  if (rows === undefined) return { atMs: performance.now(), rows: 0 };
  const options = { timeoutMs: TIMEOUT_MS, intervalMs: INTERVAL_MS };
  await waitFor("all events to be rows", async () => (await pendingEvents(port)) === 0, options);
  const atMs = performance.now();
  return { atMs, rows: await rows.persisted() };
}

interface Ledger {
  /** Covers all workers, and writers that were killed. */
  readonly stores: { readonly pending?: number };
}

/** Undefined if the stores could not be asked. */
async function pendingEvents(port: number): Promise<number | undefined> {
  const response = await fetch(`http://127.0.0.1:${port}/ledger`);
  return ((await response.json()) as Ledger).stores.pending;
}

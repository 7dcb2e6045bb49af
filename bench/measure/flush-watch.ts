/**
 * Looks on while rows are written behind the answers, and waits until all are.
 * Invariant: what a flush costs is paid within the measurement of the load that it belongs to.
 */
import { waitFor } from "../../test/harness/service/wait-for.ts";
import type { Running, StoredRows } from "../candidates.ts";
import type { SaturationResult } from "../load/saturation.ts";
import type { FlushResult } from "../results.ts";

interface Sample {
  readonly atMs: number;
  readonly rows: number;
}

const SAMPLE_INTERVAL_MS = 100;
const DRAIN_INTERVAL_MS = 20;
const DRAIN_TIMEOUT_MS = 120_000;

export class FlushWatch {
  readonly #rows: StoredRows | undefined;
  readonly #samples: Sample[] = [];
  #watching: Promise<void> = Promise.resolve();
  #isOver = false;

  constructor(rows: StoredRows | undefined) {
    this.#rows = rows;
  }

  async start(): Promise<void> {
    if (this.#rows === undefined) return;
    await this.#sample();
    this.#watching = this.#watch();
  }

  async #watch(): Promise<void> {
    while (!this.#isOver) {
      await Bun.sleep(SAMPLE_INTERVAL_MS);
      await this.#sample();
    }
  }

  async #sample(): Promise<void> {
    const rows = await this.#rows!.persisted();
    this.#samples.push({ atMs: performance.now(), rows });
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#watching;
  }

  /** Waits for the drain. Undefined if there are no rows. */
  async result(running: Running, load: SaturationResult): Promise<FlushResult | undefined> {
    const [first, last] = [this.#samples.at(0), this.#samples.at(-1)];
    if (first === undefined || last === undefined) return undefined;
    const endMs = performance.now();
    const drained = await waitForDrain(running);
    const backlogEvents = Math.max(0, drained.rows - last.rows);
    const rowsPerS = rowRate(this.#samples.filter(({ atMs }) => atMs >= last.atMs - load.durationMs / 2));
    const eventsPerS = ((drained.rows - first.rows) * 1_000) / load.durationMs;
    const shareOfRate = eventsPerS === 0 ? 1 : rowsPerS / eventsPerS;
    return { shareOfRate, rowsPerS, backlogEvents, drainMs: Math.max(0, drained.atMs - endMs) };
  }
}

function rowRate(samples: readonly Sample[]): number {
  const [first, last] = [samples.at(0), samples.at(-1)];
  if (first === undefined || last === undefined || last.atMs === first.atMs) return 0;
  return ((last.rows - first.rows) * 1_000) / (last.atMs - first.atMs);
}

/** Answers how many rows there are then, and when that was seen. */
export async function waitForDrain({ rows, process: { port } }: Running): Promise<Sample> {
  if (rows === undefined) return { atMs: performance.now(), rows: 0 };
  const options = { timeoutMs: DRAIN_TIMEOUT_MS, intervalMs: DRAIN_INTERVAL_MS };
  await waitFor("all events to be rows", async () => (await pendingEvents(port)) === 0, options);
  const atMs = performance.now();
  return { atMs, rows: await rows.persisted() };
}

interface Ledger {
  /** Of all workers, and of writers that were killed. */
  readonly stores: { readonly pending?: number };
}

/** Undefined if the stores could not be asked. */
async function pendingEvents(port: number): Promise<number | undefined> {
  const response = await fetch(`http://127.0.0.1:${port}/ledger`);
  return ((await response.json()) as Ledger).stores.pending;
}

import { HOUR_MS } from "../../../src/domain/event.ts";
import { withDeadline } from "../../../src/runtime/clock.ts";
import { errorText } from "../../../src/runtime/error-text.ts";

export type Truthy<T> = Exclude<T, undefined | null | false | 0 | "">;

export interface WaitOptions {
  readonly timeoutMs?: number;
  /** Between two questions; if it is left out, longer the longer it takes. */
  readonly intervalMs?: number;
}

const INTERVAL_MIN_MS = 20;
const INTERVAL_MAX_MS = 100;
/** As a share of the time waited so far. */
const INTERVAL_SHARE = 0.05;

/**
 * Asks the probe until it answers something truthy, and answers that. A probe that throws is asked again; one
 * that hangs counts against the timeout too. The error names what was awaited and what was seen last.
 */
export async function waitFor<T>(
  what: string,
  probe: () => T | Promise<T>,
  options: WaitOptions = {},
): Promise<Truthy<T>> {
  const { timeoutMs = 60_000, intervalMs } = options;
  const startedAt = performance.now();
  let lastSeen = "the probe has not answered yet";
  const timedOut = () => new Error(`waited ${timeoutMs} ms for ${what}; last seen: ${lastSeen}`);
  for (;;) {
    const leftMs = timeoutMs - (performance.now() - startedAt);
    if (leftMs <= 0) throw timedOut();
    const hung = new Error("hung");
    try {
      const value = await withDeadline((async () => probe())(), leftMs, () => hung);
      if (value) return value as Truthy<T>;
      lastSeen = Bun.inspect(value);
    } catch (error) {
      if (error === hung) throw timedOut();
      lastSeen = errorText(error);
    }
    await Bun.sleep(intervalMs ?? growingIntervalMs(performance.now() - startedAt));
  }
}

function growingIntervalMs(waitedMs: number): number {
  return Math.min(INTERVAL_MAX_MS, Math.max(INTERVAL_MIN_MS, waitedMs * INTERVAL_SHARE));
}

/** More than a test of the current hour takes. */
const ROOM_MS = 30_000;

/** Waits for the next hour if this one is about to end: before a test of what counts in the current one. */
export async function roomInHour(): Promise<void> {
  const leftMs = () => HOUR_MS - (Date.now() % HOUR_MS);
  if (leftMs() < ROOM_MS) await waitFor("the next hour", () => leftMs() > ROOM_MS);
}

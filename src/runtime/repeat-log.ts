/**
 * A log that does not say the same thing again and again: what comes again within a window is counted, and summed up
 * in one line at its end.
 *
 * Invariant: no line is lost without being counted in another one, and of each the latest fields are shown.
 */
import type { Log } from "./log.ts";

type Level = "info" | "warn" | "error";

interface Kept {
  readonly level: Level;
  readonly message: string;
  readonly sinceMs: number;
  readonly fields: object;
  readonly repeats: number;
  readonly lastMs: number;
  /** Of all lines: later ones have a higher one. */
  readonly order: number;
}

const WINDOW_MS = 10_000;
/** Of different lines, over which more are told apart by their message alone. */
const KINDS_MAX = 200;
const KEY_MAX_CHARS = 500;
/** Fields that would make each line another one. */
const OF_ONE_REQUEST = new Set(["requestId", "traceId", "parentId", "stack"]);

export class CalmLog implements Log {
  readonly #log: Log;
  readonly #now: () => number;
  readonly #kept = new Map<string, Kept>();
  #timer: Timer | undefined;
  #lines = 0;

  constructor(log: Log, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  info(fields: object, message: string): void {
    this.#take("info", fields, message);
  }

  warn(fields: object, message: string): void {
    this.#take("warn", fields, message);
  }

  error(fields: object, message: string): void {
    this.#take("error", fields, message);
  }

  #take(level: Level, fields: object, message: string): void {
    const lastMs = this.#now();
    const order = ++this.#lines;
    const key = this.#keyOf(level, fields, message);
    const kept = this.#kept.get(key);
    if (kept !== undefined) {
      Object.assign(kept, { fields, lastMs, order, repeats: kept.repeats + 1 });
      return;
    }
    this.#log[level](fields, message);
    this.#kept.set(key, { level, message, fields, repeats: 0, sinceMs: lastMs, lastMs, order });
    this.#timer ??= setTimeout(() => this.#endWindow(), WINDOW_MS);
  }

  /** Lines differ if a text in them does: a number, such as how long it took, makes no other line. */
  #keyOf(level: Level, fields: object, message: string): string {
    if (this.#kept.size >= KINDS_MAX) return `${level} ${message}`;
    const texts = Object.entries(fields).flatMap(([name, value]) =>
      typeof value === "string" && !OF_ONE_REQUEST.has(name) ? [value] : [],
    );
    return [level, message, ...texts].join("\n").slice(0, KEY_MAX_CHARS);
  }

  /** Who was repeated is counted on for another window. */
  #endWindow(): void {
    this.#timer = undefined;
    const repeated = this.#sumUp();
    this.#kept.clear();
    if (repeated.length === 0) return;
    const nowMs = this.#now();
    for (const [key, kept] of repeated) this.#kept.set(key, { ...kept, repeats: 0, sinceMs: nowMs });
    this.#timer = setTimeout(() => this.#endWindow(), WINDOW_MS);
  }

  /** In the order in which they last came, so that the last line tells how things are. */
  #sumUp(): [string, Kept][] {
    const repeated = Array.from(this.#kept).filter(([, { repeats }]) => repeats > 0);
    repeated.sort(([, a], [, b]) => a.order - b.order);
    for (const [, { level, message, fields, repeats, sinceMs, lastMs }] of repeated) {
      const seen = { repeats, sinceMs: this.#now() - sinceMs, lastAt: new Date(lastMs).toISOString() };
      this.#log[level]({ ...fields, ...seen }, message);
    }
    return repeated;
  }

  /** Tells what it has counted, and leaves no timer. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sumUp();
    this.#kept.clear();
  }
}

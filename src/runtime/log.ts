/** The part of a pino logger that the service uses. Passed in, so that tests can record it. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export function logWith(log: Log, always: object): Log {
  return {
    info: (fields, message) => log.info({ ...always, ...fields }, message),
    warn: (fields, message) => log.warn({ ...always, ...fields }, message),
    error: (fields, message) => log.error({ ...always, ...fields }, message),
  };
}

type Level = "info" | "warn" | "error";

interface Repeated {
  readonly level: Level;
  readonly message: string;
  readonly sinceMs: number;
  readonly fields: object;
  readonly repeats: number;
  readonly lastMs: number;
  readonly order: number;
}

const WINDOW_MS = 10_000;
/** Distinct lines per window. Further ones are told apart by message alone. */
const KINDS_MAX = 200;
const KEY_MAX_CHARS = 500;
const DIFFERENT_EACH_TIME = new Set(["requestId", "traceId", "parentId", "stack"]);

/**
 * Deduplicates log lines: repetitions within a time window are counted, and reported in one line at its end.
 * Invariant: a suppressed line is counted in a later one, which shows the latest fields.
 */
export class CalmLog implements Log {
  readonly #log: Log;
  readonly #now: () => number;
  readonly #seen = new Map<string, Repeated>();
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
    const seen = this.#seen.get(key);
    if (seen !== undefined) {
      Object.assign(seen, { fields, lastMs, order, repeats: seen.repeats + 1 });
      return;
    }
    this.#log[level](fields, message);
    this.#seen.set(key, { level, message, fields, repeats: 0, sinceMs: lastMs, lastMs, order });
    this.#timer ??= setTimeout(() => this.#endWindow(), WINDOW_MS);
  }

  /** Lines with different text fields are different; numbers, such as durations, are ignored. */
  #keyOf(level: Level, fields: object, message: string): string {
    if (this.#seen.size >= KINDS_MAX) return `${level} ${message}`;
    const texts = Object.entries(fields).flatMap(([name, value]) =>
      typeof value === "string" && !DIFFERENT_EACH_TIME.has(name) ? [value] : [],
    );
    return [level, message, ...texts].join("\n").slice(0, KEY_MAX_CHARS);
  }

  /** A line that was repeated is counted for another window. */
  #endWindow(): void {
    this.#timer = undefined;
    const repeated = this.#sumUp();
    this.#seen.clear();
    if (repeated.length === 0) return;
    const nowMs = this.#now();
    for (const [key, line] of repeated) this.#seen.set(key, { ...line, repeats: 0, sinceMs: nowMs });
    this.#timer = setTimeout(() => this.#endWindow(), WINDOW_MS);
  }

  /** Ordered by last repetition, so that the last line shows the current state. */
  #sumUp(): [string, Repeated][] {
    const repeated = Array.from(this.#seen).filter(([, { repeats }]) => repeats > 0);
    repeated.sort(([, a], [, b]) => a.order - b.order);
    for (const [, { level, message, fields, repeats, sinceMs, lastMs }] of repeated) {
      const counted = { repeats, sinceMs: this.#now() - sinceMs, lastAt: new Date(lastMs).toISOString() };
      this.#log[level]({ ...fields, ...counted }, message);
    }
    return repeated;
  }

  /** Reports what was counted, and leaves no timer. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sumUp();
    this.#seen.clear();
  }
}

/**
 * Reads hours. With one shard, reads that arrive while one is in flight form the next group. With several shards, each
 * shard's part is read with its sketches, so that unique users are those of the union. The cold store supplies the
 * parts that no hot store holds, or whose hot store is unavailable.
 *
 * Invariants:
 * - A read is sent only after it was requested, so it sees every event acknowledged before the request. Requests that
 *   arrive during a read of the same hour share the next one.
 * - A shard's part comes from one store: from the hot store if it holds the part, else from the cold store.
 */
import { HOUR_MS, type HourCounts, type HourKey, hourKeyName } from "../../domain/event.ts";
import { type HourRecord, type HourTotals, sumOfHours } from "../../domain/hour-range.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type Metrics, timed } from "../../runtime/metrics.ts";
import { Slots } from "../../runtime/slots.ts";
import type { ReadStore } from "../../store/cold.ts";
import { type HotStore, HotUnavailableError, type HourRead } from "../../store/hot.ts";

export type HotReads = Pick<HotStore, "read" | "readRange" | "journalOwners">;

export interface ReadShard {
  readonly number: number;
  readonly hot: HotReads;
  /** True while acknowledged events may be missing from the hot store. */
  readonly isRecovering: boolean;
}

export interface HourReader {
  /** Throws ColdUnavailableError if only the cold store has the hour and is unavailable. */
  read(key: HourKey): Promise<HourAnswer>;
}

export interface HourAnswer extends HourCounts {
  /** The hot store is unavailable or lost data, so unflushed events may be missing. */
  readonly isDegraded: boolean;
}

const NO_COUNTS: HourCounts = { clicks: 0, impressions: 0, uniqueUsers: 0 };
/** Keys per hot read: each takes Redis up to 60 µs if clickers and viewers must be merged. */
const GROUP_LIMIT = 100;
/** Distinct hours read at a time. */
const READINGS_MAX = 16;
/**
 * Merging sketches takes up to 0.2 ms per shard. The next read of the same hour waits three times as long as the last
 * one took (but at most REST_MAX_MS), which leaves three quarters of this process to events.
 */
const REST_SHARE = 3;
const REST_MAX_MS = 50;

interface HotAnswer {
  readonly read: HourRead | "uninitialized";
  readonly isDegraded: boolean;
}

interface Waiting<Answer> extends PromiseWithResolvers<Answer> {
  readonly key: HourKey;
}

interface ReaderParts {
  readonly shards: readonly ReadShard[];
  readonly cold: Pick<ReadStore, "read">;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

export class SingleShardReader implements HourReader {
  readonly #parts: ReaderParts;
  readonly #waiting = new Map<string, Waiting<HotAnswer>>();
  #isReading = false;

  /** `shards`: exactly one. */
  constructor(parts: ReaderParts) {
    this.#parts = parts;
  }

  async read(key: HourKey): Promise<HourAnswer> {
    let answer: HotAnswer;
    try {
      answer = await this.#readHot(key);
    } catch (error) {
      if (!(error instanceof HotUnavailableError)) throw error;
      return { ...(await this.#readCold(key)), isDegraded: true };
    }
    const { read, isDegraded } = answer;
    if (read === "uninitialized") return { ...(await this.#readCold(key)), isDegraded: true };
    if (read.status === "present") return { ...read.counts, isDegraded };
    if (read.status === "empty") return { ...NO_COUNTS, isDegraded };
    return { ...(await this.#readCold(key)), isDegraded };
  }

  async #readCold(key: HourKey): Promise<HourCounts> {
    const { cold, metrics, clock } = this.#parts;
    const hour = await timed(clock, metrics.coldReadSeconds, () => cold.read(key));
    if (hour === undefined) return NO_COUNTS;
    return { clicks: hour.clicks, impressions: hour.impressions, uniqueUsers: hour.users.count() };
  }

  #readHot(key: HourKey): Promise<HotAnswer> {
    const name = hourKeyName(key.stream, key.hour);
    let waiting = this.#waiting.get(name);
    if (waiting === undefined) {
      waiting = { key, ...Promise.withResolvers<HotAnswer>() };
      this.#waiting.set(name, waiting);
      if (!this.#isReading) {
        this.#isReading = true;
        this.#parts.clock.atTurnEnd(() => this.#readGroups());
      }
    }
    return waiting.promise;
  }

  async #readGroups(): Promise<void> {
    const { shards, metrics, clock } = this.#parts;
    while (this.#waiting.size > 0) {
      const group = [...this.#waiting.values()].slice(0, GROUP_LIMIT);
      for (const { key } of group) this.#waiting.delete(hourKeyName(key.stream, key.hour));
      // Taken as the read is sent: if the store loses data later, it answers "uninitialized".
      const { hot, isRecovering: isDegraded } = shards[0]!;
      try {
        const keys = group.map(({ key }) => key);
        const reads = await timed(clock, metrics.hotReadSeconds, () => hot.read(keys));
        for (const [i, waiting] of group.entries()) {
          waiting.resolve({ read: reads === "uninitialized" ? reads : reads[i]!, isDegraded });
        }
      } catch (error) {
        for (const waiting of group) waiting.reject(error);
      }
    }
    this.#isReading = false;
  }
}

/** The hour with its sketches. Read as a range, since read() returns only counts. Throws HotUnavailableError. */
export async function readHeldHour(
  hot: HotReads,
  { hour, stream }: HourKey,
): Promise<HourRecord | "empty" | "absent" | "uninitialized"> {
  const range = { from: hour, to: hour + HOUR_MS, streams: { text: stream, isPrefix: false } };
  const shown: HourRecord[] = [];
  const freshFrom = await hot.readRange(range, (record) => shown.push(record));
  if (freshFrom === "uninitialized") return freshFrom;
  return shown[0] ?? (hour >= freshFrom ? "empty" : "absent");
}

/** One shard's answer; "silent" if its hot store is unavailable. */
type Part = HourRecord | "empty" | "absent" | "silent";

interface HotParts {
  readonly parts: readonly Part[];
  /** Whether it was so when the read was sent. */
  readonly isRecovering: boolean;
}

export class MergingReader implements HourReader {
  readonly #parts: ReaderParts;
  readonly #readings = new Slots(READINGS_MAX, Number.POSITIVE_INFINITY);
  readonly #waiting = new Map<string, Waiting<HourAnswer>>();
  /** Hours being read, or waiting for their next read. */
  readonly #inFlight = new Set<string>();

  constructor(parts: ReaderParts) {
    this.#parts = parts;
  }

  read(key: HourKey): Promise<HourAnswer> {
    const name = hourKeyName(key.stream, key.hour);
    let waiting = this.#waiting.get(name);
    if (waiting === undefined) {
      waiting = { key, ...Promise.withResolvers<HourAnswer>() };
      this.#waiting.set(name, waiting);
      if (!this.#inFlight.has(name)) {
        this.#inFlight.add(name);
        this.#parts.clock.atTurnEnd(() => this.#readAgain(name));
      }
    }
    return waiting.promise;
  }

  /** Repeats until no request waits. Never rejects. */
  async #readAgain(name: string): Promise<void> {
    const { clock } = this.#parts;
    for (;;) {
      await this.#readings.take(1);
      const startMs = clock.monotonicMs();
      const waiting = this.#waiting.get(name)!;
      this.#waiting.delete(name);
      // Released before the cold store is read: while that is slow, hours that do not need it continue.
      const hot = this.#readHot(waiting.key).finally(() => this.#readings.give(1));
      await this.#complete(waiting.key, hot).then(waiting.resolve, waiting.reject);
      if (!this.#waiting.has(name)) break;
      const tookMs = clock.monotonicMs() - startMs;
      await clock.sleep(Math.min(REST_SHARE * tookMs, REST_MAX_MS));
    }
    this.#inFlight.delete(name);
  }

  async #readHot(key: HourKey): Promise<HotParts> {
    // Taken as the read is sent: if a store loses data later, it answers "uninitialized".
    const { shards, metrics, clock } = this.#parts;
    const isRecovering = shards.some((shard) => shard.isRecovering);
    const parts = await timed(clock, metrics.hotReadSeconds, () =>
      Promise.all(shards.map((shard) => readPart(shard, key))),
    );
    return { parts, isRecovering };
  }

  /** Throws ColdUnavailableError. */
  async #complete(key: HourKey, hot: Promise<HotParts>): Promise<HourAnswer> {
    const { parts, isRecovering } = await hot;
    const held: HourTotals[] = parts.filter((part) => typeof part === "object");
    const elsewhere = this.#parts.shards.filter((_, i) => parts[i] === "absent" || parts[i] === "silent");
    const cold = await this.#readCold(key, elsewhere);
    const total = sumOfHours(cold === undefined ? held : [...held, cold]);
    const isDegraded = isRecovering || parts.includes("silent");
    if (total === undefined) return { ...NO_COUNTS, isDegraded };
    const { clicks, impressions, users } = total;
    return { clicks, impressions, uniqueUsers: users.count(), isDegraded };
  }

  /** Throws ColdUnavailableError. */
  async #readCold(key: HourKey, from: readonly ReadShard[]): Promise<HourTotals | undefined> {
    if (from.length === 0) return undefined;
    const { shards, cold, metrics, clock } = this.#parts;
    // All parts if no shard holds any: this also counts shards beyond REDIS_SHARDS, should there be some.
    const numbers = from.length < shards.length ? from.map(({ number }) => number) : undefined;
    return await timed(clock, metrics.coldReadSeconds, () => cold.read(key, numbers));
  }
}

async function readPart({ hot }: ReadShard, key: HourKey): Promise<Part> {
  try {
    const held = await readHeldHour(hot, key);
    return held === "uninitialized" ? "silent" : held;
  } catch (error) {
    if (error instanceof HotUnavailableError) return "silent";
    throw error;
  }
}

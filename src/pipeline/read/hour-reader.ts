/**
 * Reads hours. When there is one shard: from the hot store in groups (reads that arrive while one is in flight form the
 * next), from the cold store for hours that only it has, or when the hot store is unavailable.
 * Invariant: a read is sent only after it was requested, so it sees every event acknowledged before that.
 */
import { HOUR_MS, type HourCounts, type HourKey, hourKeyName } from "../../domain/event.ts";
import type { HourRecord } from "../../domain/hour-range.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type Metrics, timed } from "../../runtime/metrics.ts";
import type { ReadStore } from "../../store/cold.ts";
import { type HotStore, HotUnavailableError, type HourRead } from "../../store/hot.ts";

export interface ReadShard {
  readonly number: number;
  readonly hot: HotStore;
  /** True while acknowledged events may be missing from the hot store. */
  readonly isRecovering: boolean;
}

export interface HourReader {
  /** Throws ColdUnavailableError if only the cold store has the hour and is unavailable. */
  read(key: HourKey): Promise<HourAnswer>;
}

export interface HourAnswer extends HourCounts {
  /** True if the hot store is unavailable or has lost data: events that are not flushed yet may be missing. */
  readonly isDegraded: boolean;
}

export const NO_COUNTS: HourCounts = { clicks: 0, impressions: 0, uniqueUsers: 0 };
/** Keys in one hot read: up to 60 µs of Redis each, where clickers and viewers have to be merged. */
const GROUP_LIMIT = 100;

interface HotAnswer {
  readonly read: HourRead | "uninitialized";
  readonly isDegraded: boolean;
}

interface Waiting extends PromiseWithResolvers<HotAnswer> {
  readonly key: HourKey;
}

export interface ReaderParts {
  readonly shards: readonly ReadShard[];
  readonly cold: Pick<ReadStore, "read">;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

export class SingleShardReader implements HourReader {
  readonly #parts: ReaderParts;
  #waiting = new Map<string, Waiting>();
  #isReading = false;

  /** `shards`: the one. */
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
      // As it is now, when the read is sent: what the store loses after that it answers as uninitialized.
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

/** With its sketches: as a range, since a read of one hour shows only their counts. Throws HotUnavailableError. */
export async function readHeldHour(
  hot: HotStore,
  { hour, stream }: HourKey,
): Promise<HourRecord | "empty" | "absent" | "uninitialized"> {
  const range = { from: hour, to: hour + HOUR_MS, streams: { text: stream, isPrefix: false } };
  const shown: HourRecord[] = [];
  const freshFrom = await hot.readRange(range, (record) => shown.push(record));
  if (freshFrom === "uninitialized") return freshFrom;
  return shown[0] ?? (hour >= freshFrom ? "empty" : "absent");
}

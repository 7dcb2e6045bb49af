/**
 * Reads hours of several shards: what each holds, with its sketches, so that unique users are those of the union; and
 * from the cold store, in one query, the parts that shards do not hold.
 *
 * Invariants:
 * - A reading is sent only after it was requested, so it sees every event acknowledged before that. Requests during a
 *   reading of the same hour share the next one.
 * - No part of an hour is taken from both stores: each shard's comes from the hot one if that holds it, else the cold.
 */
import { type HourKey, hourKeyName } from "../../domain/event.ts";
import { type HourRecord, type HourTotals, sumOfHours } from "../../domain/hour-range.ts";
import { timed } from "../../runtime/metrics.ts";
import { Slots } from "../../runtime/slots.ts";
import { HotUnavailableError } from "../../store/hot.ts";
import {
  type HourAnswer,
  type HourReader,
  NO_COUNTS,
  type ReaderParts,
  type ReadShard,
  readHeldHour,
} from "./hour-reader.ts";

/** Distinct hours that are read at a time. */
const READINGS_MAX = 16;
/**
 * Merging the sketches takes up to 0.2 ms a shard. So after a reading the next one of the same hour waits three times
 * as long as that took: three quarters of this process are left to events. But no longer than this.
 */
const REST_SHARE = 3;
const REST_MAX_MS = 50;

interface Waiting extends PromiseWithResolvers<HourAnswer> {
  readonly key: HourKey;
}

/** Of a shard; "silent" if its hot store is unavailable. */
type Part = HourRecord | "empty" | "absent" | "silent";

interface HotParts {
  readonly parts: readonly Part[];
  /** As it was when the reading was sent. */
  readonly isRecovering: boolean;
}

export class MergingReader implements HourReader {
  readonly #parts: ReaderParts;
  readonly #readings = new Slots(READINGS_MAX, Number.POSITIVE_INFINITY);
  readonly #waiting = new Map<string, Waiting>();
  /** Hours that are being read, or wait for their next reading. */
  readonly #underWay = new Set<string>();

  constructor(parts: ReaderParts) {
    this.#parts = parts;
  }

  read(key: HourKey): Promise<HourAnswer> {
    const name = hourKeyName(key.stream, key.hour);
    let waiting = this.#waiting.get(name);
    if (waiting === undefined) {
      waiting = { key, ...Promise.withResolvers<HourAnswer>() };
      this.#waiting.set(name, waiting);
      if (!this.#underWay.has(name)) {
        this.#underWay.add(name);
        this.#parts.clock.atTurnEnd(() => this.#readAgain(name));
      }
    }
    return waiting.promise;
  }

  /** Until no request waits. Never rejects. */
  async #readAgain(name: string): Promise<void> {
    const { clock } = this.#parts;
    for (;;) {
      await this.#readings.take(1);
      const startMs = clock.monotonicMs();
      const waiting = this.#waiting.get(name)!;
      this.#waiting.delete(name);
      // Given back before the cold store is read: while that is slow, hours that do not need it go on.
      const hot = this.#readHot(waiting.key).finally(() => this.#readings.give(1));
      await this.#complete(waiting.key, hot).then(waiting.resolve, waiting.reject);
      if (!this.#waiting.has(name)) break;
      const tookMs = clock.monotonicMs() - startMs;
      await clock.sleep(Math.min(REST_SHARE * tookMs, REST_MAX_MS));
    }
    this.#underWay.delete(name);
  }

  async #readHot(key: HourKey): Promise<HotParts> {
    // As it is now, when the reading is sent: what a store loses after that it answers as uninitialized.
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
    // All parts if none is held: should there be shards beyond the settings, they are counted, too.
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

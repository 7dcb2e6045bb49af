/**
 * Brings an hour that only the cold store knows into the hot store, whole, before anything is added to it.
 * Invariant: hours that were retired between reading the cold store and writing the hot one are noticed
 * there, and read again, so that no stale picture is put in place.
 */
import { type HourKey, hourKeyName } from "../../domain/event.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type Metrics, timed } from "../../runtime/metrics.ts";
import type { ColdShard } from "../../store/cold-shard.ts";
import { type HotStore, HotUnavailableError } from "../../store/hot.ts";

const ATTEMPTS = 5;

export class Hydrator {
  readonly #hot: HotStore;
  readonly #cold: ColdShard;
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #metrics: Metrics;
  readonly #clock: Clock;

  constructor(hot: HotStore, cold: ColdShard, metrics: Metrics, clock: Clock) {
    this.#hot = hot;
    this.#cold = cold;
    this.#metrics = metrics;
    this.#clock = clock;
  }

  /** Throws HotUnavailableError or ColdUnavailableError. */
  hydrate(key: HourKey): Promise<void> {
    const name = hourKeyName(key.stream, key.hour);
    let hydration = this.#underWay.get(name);
    if (hydration === undefined) {
      const hydrating = timed(this.#clock, this.#metrics.hydrationSeconds, () => this.#hydrate(key));
      hydration = hydrating.finally(() => this.#underWay.delete(name));
      this.#underWay.set(name, hydration);
    }
    return hydration;
  }

  async #hydrate(key: HourKey): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const mark = await this.#hot.retirementMark();
      const cold = await this.#cold.read(key);
      if (await this.#hot.hydrate(key, cold, mark)) return;
    }
    const what = `Cannot hydrate hour ${key.hour} of stream '${key.stream}'`;
    throw new HotUnavailableError(`${what}: hours were retired during each of ${ATTEMPTS} attempts`, false);
  }
}

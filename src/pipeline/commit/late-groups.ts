/**
 * Groups whose hour only the cold store has: they leave their batch, and are queued again once the hot store has the
 * hour. Invariant: a batch never waits for the cold store. A group in here was never applied, and may be refused.
 */
import type { Group } from "../../domain/event.ts";
import type { Refusal, RefusalReason } from "../../domain/refusal-reasons.ts";
import type { Clock } from "../../runtime/clock.ts";
import { Slots } from "../../runtime/slots.ts";
import { StoreUnavailableError } from "../../store/unavailable-error.ts";
import type { Hydrate } from "./hydrator.ts";
import type { OpenBatch, PacedQueue } from "./paced-queue.ts";

const HYDRATION_DEADLINE_MS = 3_000;
/** A bulk may have any number of hours, and single events and reads need the cold store too. */
const BULK_HYDRATIONS_MAX = 8;

interface LateGroupsOptions {
  readonly hydrate: Hydrate;
  readonly queue: Pick<PacedQueue, "readmit">;
  readonly clock: Pick<Clock, "monotonicMs">;
  readonly refuse: (reason: RefusalReason, eventCount: number) => Refusal;
  /** Why no event can be committed now. */
  readonly unavailable: () => RefusalReason | undefined;
}

export class LateGroups {
  readonly #options: LateGroupsOptions;
  readonly #bulkSlots = new Slots(BULK_HYDRATIONS_MAX, Number.POSITIVE_INFINITY);
  singleEvents = 0;
  bulkEvents = 0;
  #isStopped = false;

  constructor(options: LateGroupsOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.singleEvents === 0 && this.bulkEvents === 0;
  }

  /** Takes the group out of its batch. Never rejects. */
  async stepAside(group: Group, batch: OpenBatch): Promise<void> {
    const { hydrate, queue, clock, unavailable } = this.#options;
    const { isOfBulks } = batch;
    const waiter = batch.take(group);
    const eventCount = group.users.length;
    const refuse = (reason: RefusalReason) => waiter.resolve(this.#options.refuse(reason, eventCount));
    this.#add(eventCount, isOfBulks);
    try {
      if (isOfBulks) await this.#bulkSlots.take(1);
      if (clock.monotonicMs() - batch.openedMs > HYDRATION_DEADLINE_MS) return refuse("loading_hours");
      if (this.#isStopped) return refuse("shutting_down");
      await hydrate(group);
      const reason = this.#isStopped ? "shutting_down" : unavailable();
      if (reason !== undefined) return refuse(reason);
      queue.readmit(group, waiter, isOfBulks);
    } catch (error) {
      refuse(error instanceof StoreUnavailableError ? error.reason : "hot_store_away");
    } finally {
      if (isOfBulks) this.#bulkSlots.give(1);
      this.#add(-eventCount, isOfBulks);
    }
  }

  #add(eventCount: number, isOfBulks: boolean): void {
    if (isOfBulks) this.bulkEvents += eventCount;
    else this.singleEvents += eventCount;
  }

  /** Hydrations in flight continue, but their events are refused afterwards. */
  stop(): void {
    this.#isStopped = true;
  }
}

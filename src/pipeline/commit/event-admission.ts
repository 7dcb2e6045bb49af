/**
 * Whether events are taken now, and if not, why.
 * Invariant: an event that is refused here was never sent to a store, and is in the ledger under its reason.
 */
import type { Ledger } from "../../domain/ledger.ts";
import type { RefusalReason } from "../../domain/refusal-reasons.ts";
import type { Refusal } from "./open-batch.ts";

/** Of what this process has committed and not flushed, in whatever shard. */
export interface JournalBound {
  /** True while no more is to be taken. */
  isFull(): boolean;
  /** How long it will take until there is room: 1 to 60 s. */
  drainS(): number;
}

/** Events that are taken and not committed yet. */
export interface WaitingEvents {
  readonly single: number;
  readonly ofBulks: number;
}

export interface EventAdmissionOptions {
  readonly ledger: Ledger;
  readonly journals: JournalBound;
  readonly waiting: WaitingEvents;
}

/** Each holds a connection, so that this is rarely what is met first. */
const WAITING_MAX_EVENTS = 20_000;
const RESTORING_RETRY_S = 5;
/** 10 of the largest bulks. */
const BULKS_WAITING_MAX_EVENTS = 100_000;

export class EventAdmission {
  readonly #options: EventAdmissionOptions;
  isStopping = false;
  /** Set while a store does not answer. */
  unavailable: RefusalReason | undefined = "hot_store_away";

  constructor(options: EventAdmissionOptions) {
    this.#options = options;
  }

  /** Why no event is taken now; undefined if they are. */
  get reason(): RefusalReason | undefined {
    if (this.isStopping) return "shutting_down";
    if (this.unavailable !== undefined) return this.unavailable;
    const { journals, waiting } = this.#options;
    if (journals.isFull()) return "journal_full";
    return waiting.single >= WAITING_MAX_EVENTS ? "overloaded" : undefined;
  }

  get bulkReason(): RefusalReason | undefined {
    const isFull = this.#options.waiting.ofBulks >= BULKS_WAITING_MAX_EVENTS;
    return this.reason ?? (isFull ? "overloaded" : undefined);
  }

  refusal(reason: RefusalReason): Refusal {
    if (reason === "journal_full") return { reason, retryAfterS: this.#options.journals.drainS() };
    return { reason, retryAfterS: reason === "restoring_ids" ? RESTORING_RETRY_S : 1 };
  }

  /** For this many events. */
  refuse(reason: RefusalReason, eventCount: number): Refusal {
    this.#options.ledger.refused[reason] += eventCount;
    return this.refusal(reason);
  }
}

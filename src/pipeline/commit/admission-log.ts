/** Says when events begin to be refused, why, and when they are taken again: one line for each change. */
import type { Ledger } from "../../domain/ledger.ts";
import type { RefusalReason } from "../../domain/refusal-reasons.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Committer } from "./committer.ts";

interface Incident {
  readonly reason: RefusalReason;
  readonly sinceMs: number;
  readonly refusedBefore: number;
}

export class AdmissionLog {
  readonly #committer: Committer;
  readonly #ledger: Ledger;
  readonly #log: Log;
  readonly #clock: Clock;
  #incident: Incident | undefined;

  constructor(committer: Committer, ledger: Ledger, log: Log, clock: Clock) {
    this.#committer = committer;
    this.#ledger = ledger;
    this.#log = log;
    this.#clock = clock;
  }

  /** To be called again and again: what begins and ends between two looks is not seen. */
  look(): void {
    const reason = this.#committer.refusal;
    if (reason === this.#incident?.reason) return;
    if (this.#incident !== undefined) this.#end(this.#incident, reason);
    this.#incident = undefined;
    if (reason === undefined) return;
    const sinceMs = this.#clock.monotonicMs();
    this.#incident = { reason, sinceMs, refusedBefore: this.#ledger.refused[reason] };
    const isAway = reason === "hot_store_away" || reason === "cold_store_away";
    this.#log.warn({ reason, ...(isAway && { error: this.#committer.lastError }) }, "events are refused");
  }

  #end({ reason, sinceMs, refusedBefore }: Incident, next: RefusalReason | undefined): void {
    const refusedEvents = this.#ledger.refused[reason] - refusedBefore;
    const fields = { reason, refusedMs: Math.round(this.#clock.monotonicMs() - sinceMs), refusedEvents };
    if (next === undefined) this.#log.info(fields, "events are taken again");
    else this.#log.warn(fields, "events are refused for another reason now");
  }
}

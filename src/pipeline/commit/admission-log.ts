/** Logs when the service starts to refuse events, why, and when it accepts them again: one line for each change. */
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

/** Returns a check that the caller repeats. A refusal that begins and ends between two checks goes unnoticed. */
export function admissionLog(committer: Committer, ledger: Ledger, log: Log, clock: Clock): () => void {
  let incident: Incident | undefined;
  // The refusals that began an incident were counted before its check.
  let refusedAtLastCheck = { ...ledger.refused };
  const end = ({ reason, sinceMs, refusedBefore }: Incident, next: RefusalReason | undefined) => {
    const refusedEvents = ledger.refused[reason] - refusedBefore;
    const fields = { reason, refusedMs: Math.round(clock.monotonicMs() - sinceMs), refusedEvents };
    if (next === undefined) log.info(fields, "events are accepted again");
    else log.warn(fields, "events are now refused for another reason");
  };
  const check = (refusedBefore: Ledger["refused"]) => {
    const reason = committer.refusal;
    if (reason === incident?.reason) return;
    if (incident !== undefined) end(incident, reason);
    incident = undefined;
    if (reason === undefined) return;
    incident = { reason, sinceMs: clock.monotonicMs(), refusedBefore: refusedBefore[reason] };
    const isAway = reason === "hot_store_away" || reason === "cold_store_away";
    log.warn({ reason, ...(isAway && { error: committer.lastError }) }, "events are refused");
  };
  return () => {
    check(refusedAtLastCheck);
    refusedAtLastCheck = { ...ledger.refused };
  };
}

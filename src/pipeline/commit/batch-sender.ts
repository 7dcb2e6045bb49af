/**
 * Sends one batch at a time, under (writer, seq), until its outcome is known.
 *
 * The states of a batch, and what each event in it may still become:
 *
 * | state      | what happened                                 | next                                            |
 * |------------|-----------------------------------------------|-------------------------------------------------|
 * | unsent     | no attempt, or each was answered "not done"   | sent; refused (503) after COMMIT_DEADLINE_MS    |
 * | in flight  | an attempt has no answer yet                  | stored, unsent, in doubt                        |
 * | in doubt   | an attempt got no answer: the connection was  | sent again unchanged under the same seq, until  |
 * |            | lost, or it took too long                     | it is stored, or known not to be                |
 * | open       | it was in doubt when its writer was given up, | owed, stored or dropped, once the cold store    |
 * |            | and only the cold store knows whether it is   | can say whether it is stored                    |
 * |            | stored, which does not answer                 |                                                 |
 * | owed       | it was in doubt, has ids, and was lost with   | sent again once the lost ids are known, however |
 * |            | the data set; because of its ids, other       | long that takes                                 |
 * |            | instances may have acknowledged its events    |                                                 |
 * | stored     | "committed"                                   | 204; offered to the flusher                     |
 *
 * The meaning of each answer:
 *
 * | answer              | the batch was unsent              | the batch was in doubt                             |
 * |---------------------|-----------------------------------|----------------------------------------------------|
 * | committed           | stored                            | stored, by this attempt or an earlier one          |
 * | absent hours        | its late groups step aside        | unchanged: the hours are fetched, it is sent again |
 * | fenced, unknown,    | stays unsent, goes under the next | the end of its writer settles whether it is stored |
 * | uninitialized       | writer                            | (WriterIdentity); as long as it cannot: open       |
 * | an error: not done  | stays unsent                      | stays in doubt: an earlier copy may still arrive   |
 * | no answer           | is in doubt                       | stays in doubt                                     |
 *
 * If a batch is in flight, in doubt or owed OUTCOME_TIMEOUT_MS after it was sent, its waiters get "unknown" (504), but
 * sending continues. They get it at once if it is open, and at the end of a stop's grace period, which leaves the batch
 * to the journal's adopter. Orphans (acknowledged batches that the hot store lost) have no waiters and are never given
 * up.
 *
 * Invariants: the seqs of a writer have no gaps. A batch in doubt never changes, and nothing else is sent meanwhile. An
 * event is answered as stored only after the hot store has said so, and refused only if no attempt can ever apply it.
 */
import { type Batch, hashUsers, hasIds, PackedBatch, withoutGroups } from "../../domain/event.ts";
import type { Ledger } from "../../domain/ledger.ts";
import { type Refusal, UNKNOWN } from "../../domain/refusal-reasons.ts";
import { backoffMs, type Clock } from "../../runtime/clock.ts";
import { InvariantError } from "../../runtime/invariant-error.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import { type CommitResult, type HotStore, HotUnavailableError } from "../../store/hot.ts";
import type { Flusher } from "../flush/flusher.ts";
import type { IdRestoration } from "../upkeep/id-restoration.ts";
import type { Hydrate } from "./hydrator.ts";
import type { LateGroups } from "./late-groups.ts";
import type { OpenBatch } from "./paced-queue.ts";
import type { StreamRegistry } from "./stream-registry.ts";
import type { Doubt, Fate, SettledFate, WriterIdentity } from "./writer-identity.ts";

/** The collaborators of a committer, which it shares with its sender. */
export interface CommitParts {
  readonly hot: HotStore;
  readonly flusher: Flusher;
  readonly hydrate: Hydrate;
  readonly identity: WriterIdentity;
  readonly ids: IdRestoration;
  readonly streams: StreamRegistry;
  readonly ledger: Ledger;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly outcomeTimeoutMs: number;
}

interface BatchSenderOptions extends CommitParts {
  readonly lateGroups: LateGroups;
  readonly onFailure: (error: unknown) => void;
  /** The current batch takes so long that events which are still unsent must be refused. */
  readonly onOverdue: () => void;
  /** The current batch has an id that the hot store may have lost: the batch must be refused. */
  readonly onUnknownIds: () => void;
}

interface Sending {
  batch: Batch;
  /** Undefined for orphans. */
  readonly opened: OpenBatch | undefined;
  sentMs: number | undefined;
  isInFlight: boolean;
  /** Set while it is in doubt or open. */
  doubt: Doubt | undefined;
  isOwed: boolean;
  isAnsweredUnknown: boolean;
  cancelTimeout: (() => void) | undefined;
}

/** A store that is unavailable must be reported (503) within a second. */
const COMMIT_DEADLINE_MS = 900;
export const RETRY_FIRST_MS = 10;
export const RETRY_MAX_MS = 500;

export class BatchSender {
  readonly #options: BatchSenderOptions;
  #current: Sending | undefined;
  /** At most one for each lost writer. The ring's capacity bounds them together. */
  readonly #open = new Map<Doubt, Sending>();
  /** At most one for each lost writer. */
  readonly #owed: Sending[] = [];
  /** The seq of the current batch, or else of the next. */
  #seq = 1;
  #isStopped = false;

  constructor(options: BatchSenderOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#current === undefined;
  }

  get lastKnownSeq(): number {
    return this.#seq - 1;
  }

  /** Events of the current batch that callers still wait for. */
  get waitingEvents(): number {
    const current = this.#current;
    return current?.opened === undefined || current.isAnsweredUnknown ? 0 : current.batch.eventCount;
  }

  /** Events that were acknowledged earlier and are in no store. */
  get orphanEvents(): number {
    return this.#current !== undefined && this.#current.opened === undefined ? this.#current.batch.eventCount : 0;
  }

  /** Events that another instance may have acknowledged and that may be in no store. */
  get owedEvents(): number {
    // Each read asks for this: usually there are none, and no array is made.
    let sum = this.#current?.isOwed ? this.#current.batch.eventCount : 0;
    for (const { batch } of this.#owed) sum += batch.eventCount;
    for (const { batch } of this.#open.values()) if (hasIds(batch)) sum += batch.eventCount;
    return sum;
  }

  /** The batch whose fate the end of its writer has to settle. */
  get doubt(): Doubt | undefined {
    return this.#current?.doubt;
  }

  /** Must be idle. `opened` is undefined for orphans. */
  take(batch: Batch, opened: OpenBatch | undefined): void {
    if (this.#current !== undefined) throw new InvariantError(`a batch was taken while ${this.#seq} is being sent`);
    this.#current = {
      ...{ batch, opened, sentMs: undefined },
      ...{ isInFlight: false, doubt: undefined, isOwed: false, isAnsweredUnknown: false, cancelTimeout: undefined },
    };
  }

  /** Must be idle. Returns false if no owed batch can be sent now. */
  takeOwed(): boolean {
    if (this.#current !== undefined) throw new InvariantError(`a batch is owed while ${this.#seq} is being sent`);
    if (!this.#options.ids.areKnown) return false;
    this.#current = this.#owed.shift();
    return this.#current !== undefined;
  }

  /** Throws the store's error. Then either refuseUnsent() refuses the batch, or the next call sends it again. */
  async send(): Promise<void> {
    const sending = this.#current!;
    if (this.#mayRepeatIds(sending)) return sending.isOwed ? this.#owe(sending) : this.#options.onUnknownIds();
    const result = await this.#answer(sending);
    if (result === undefined || this.#isStopped) return;
    switch (result.status) {
      case "committed":
        this.#committed(sending, result.duplicates);
        break;
      case "absent":
        await this.#fetchHours(sending, result.groups);
        break;
      case "fenced":
      case "uninitialized":
      case "unknown":
        this.#options.identity.isLost = true;
        if (sending.isAnsweredUnknown && !mustBeStored(sending)) this.#endUnstored(sending);
    }
  }

  /**
   * True if the batch was made for an earlier data set, whose ids may be lost. Orphans were acknowledged and cannot be
   * in the cold store, so they never repeat ids.
   */
  #mayRepeatIds({ batch, opened, doubt }: Sending): boolean {
    if (this.#options.ids.areKnown || opened === undefined || doubt !== undefined) return false;
    return hasIds(batch);
  }

  /** Returns undefined if no answer came and none is awaited any longer. */
  async #answer(sending: Sending): Promise<CommitResult | undefined> {
    const { hot, identity, clock, onFailure } = this.#options;
    const openedMs = sending.isOwed ? clock.monotonicMs() : (sending.opened?.openedMs ?? clock.monotonicMs());
    sending.sentMs ??= clock.monotonicMs();
    const leftMs = openedMs + COMMIT_DEADLINE_MS - clock.monotonicMs();
    const cancel = clock.after(Math.max(0, leftMs), () => this.overdue());
    try {
      for (let attempt = 0; !this.#isStopped; attempt++) {
        try {
          sending.isInFlight = true;
          hashUsers(sending.batch, identity.users!);
          return await hot.commit(identity.name!, this.#seq, sending.batch);
        } catch (error) {
          sending.isInFlight = false;
          onFailure(error);
          if (mayHaveApplied(error)) this.#doubt(sending);
          const pauseMs = backoffMs(attempt, RETRY_FIRST_MS, RETRY_MAX_MS, clock.random);
          if (sending.doubt === undefined) {
            if (sending.isAnsweredUnknown && !mustBeStored(sending)) return void this.#endUnstored(sending);
            if (clock.monotonicMs() - openedMs + pauseMs > COMMIT_DEADLINE_MS) throw error;
          }
          await clock.sleep(pauseMs);
          if (this.#current !== sending) return undefined;
        }
      }
      return undefined;
    } finally {
      sending.isInFlight = false;
      cancel();
    }
  }

  #doubt(sending: Sending): void {
    const { opened, batch } = sending;
    sending.doubt ??= { seq: this.#seq, isOrphan: opened === undefined, eventCount: batch.eventCount };
    this.#startTimeout(sending);
  }

  /** Refuses the events behind the batch, and limits how long its own waiters wait. */
  overdue(): void {
    this.#options.onOverdue();
    const current = this.#current;
    if (current?.isInFlight || current?.doubt !== undefined) this.#startTimeout(current);
  }

  #startTimeout(sending: Sending): void {
    if (sending.opened === undefined || sending.cancelTimeout !== undefined) return;
    const { clock, outcomeTimeoutMs } = this.#options;
    const leftMs = sending.sentMs! + outcomeTimeoutMs - clock.monotonicMs();
    sending.cancelTimeout = clock.after(Math.max(0, leftMs), () => {
      if (sending.isInFlight || mustBeStored(sending)) this.#answerUnknown(sending);
    });
  }

  #answerUnknown(sending: Sending): void {
    if (sending.opened === undefined || sending.isAnsweredUnknown) return;
    sending.isAnsweredUnknown = true;
    this.#options.ledger.unknown += sending.batch.eventCount;
    sending.opened.resolve(UNKNOWN);
  }

  #committed(sending: Sending, duplicates: readonly number[]): void {
    const { ledger, metrics, flusher, clock } = this.#options;
    const { opened } = sending;
    if (this.#current !== sending) throw new InvariantError(`another batch than ${this.#seq} was committed`);
    const batch = PackedBatch.of(this.#seq, sending.batch, duplicates);
    this.#checkAccepted(sending, batch.eventCount);
    if (opened === undefined) {
      // They were counted as accepted before, and another writer has had them accepted since.
      ledger.handedOver += duplicates.length;
    } else {
      ledger.accepted += batch.eventCount;
      ledger.duplicates += duplicates.length;
      metrics.commitSeconds.observe((clock.monotonicMs() - opened.openedMs) / 1_000);
      metrics.batchEvents.observe(sending.batch.eventCount);
    }
    flusher.offer(batch);
    this.#seq += 1;
    this.#endStored(sending, duplicates);
  }

  #checkAccepted({ batch }: Sending, acceptedEvents: number): void {
    const { eventCount } = batch;
    if (acceptedEvents >= 0 && acceptedEvents <= eventCount) return;
    throw new InvariantError(`${acceptedEvents} events of batch ${this.#seq} were accepted, of ${eventCount}`);
  }

  #endStored(sending: Sending, duplicates: readonly number[]): void {
    const { opened, batch, isAnsweredUnknown } = sending;
    for (const { stream } of batch.groups) this.#options.streams.noteCommitted(stream);
    this.#end(sending);
    if (isAnsweredUnknown) {
      this.#options.ledger.unknownStored += batch.eventCount;
      return;
    }
    if (opened?.isOfBulks && duplicates.length > 0) opened.noteDuplicates(batch.groups, duplicates);
    opened?.resolve(undefined);
  }

  /** Ends a batch whose waiters got "unknown": it was not applied and never will be. */
  #endUnstored(sending: Sending): void {
    this.#options.ledger.unknownUnstored += sending.batch.eventCount;
    this.#end(sending);
  }

  #end(sending: Sending): void {
    sending.cancelTimeout?.();
    if (this.#current === sending) this.#current = undefined;
  }

  async #fetchHours(sending: Sending, positions: readonly number[]): Promise<void> {
    const { hydrate, lateGroups } = this.#options;
    const groups = positions.map((position) => sending.batch.groups[position]!);
    if (mustBeStored(sending)) {
      await this.overdueAfterDeadline(Promise.all(groups.map((group) => hydrate(group))));
      return;
    }
    if (sending.isAnsweredUnknown) return this.#endUnstored(sending);
    for (const group of groups) void lateGroups.stepAside(group, sending.opened!);
    sending.batch = withoutGroups(sending.batch, new Set(positions));
    if (sending.batch.eventCount === 0) this.#end(sending);
  }

  /** Runs work of unbounded length: callers get their answer at the deadline while it continues. */
  async overdueAfterDeadline<T>(work: Promise<T>): Promise<T> {
    const cancel = this.#options.clock.after(COMMIT_DEADLINE_MS, () => this.overdue());
    try {
      return await work;
    } finally {
      cancel();
    }
  }

  /** The writer was replaced. `fate` is what became of the batch in doubt, if there was one. */
  writerReplaced(fate: Fate | undefined): void {
    this.#seq = 1;
    const sending = this.#current;
    if (sending?.doubt === undefined || fate === undefined) return;
    if (fate === "open") this.#leaveOpen(sending, sending.doubt);
    else this.#settle(sending, fate);
  }

  #leaveOpen(sending: Sending, doubt: Doubt): void {
    this.#answerUnknown(sending);
    this.#end(sending);
    this.#open.set(doubt, sending);
  }

  /** The fate of a batch is known that was open before, maybe while its writer is still being replaced. */
  settle(doubt: Doubt, fate: SettledFate): void {
    const sending = this.#current?.doubt === doubt ? this.#current : this.#open.get(doubt);
    if (sending === undefined) throw new InvariantError(`batch ${doubt.seq} of a former writer was settled twice`);
    this.#open.delete(doubt);
    this.#settle(sending, fate);
  }

  #settle(sending: Sending, fate: SettledFate): void {
    const { ledger } = this.#options;
    const { eventCount } = sending.batch;
    sending.doubt = undefined;
    if (fate === "unstored") {
      if (sending.opened !== undefined && hasIds(sending.batch)) this.#owe(sending);
      else if (sending.isAnsweredUnknown) this.#endUnstored(sending);
      return;
    }
    this.#checkAccepted(sending, fate.acceptedEvents);
    const duplicateCount = eventCount - fate.acceptedEvents;
    if (sending.opened === undefined) {
      ledger.handedOver += eventCount;
    } else {
      ledger.accepted += fate.acceptedEvents;
      ledger.handedOver += fate.acceptedEvents;
      ledger.duplicates += duplicateCount;
    }
    // Which events were duplicates is no longer known, but bulks only report how many.
    this.#endStored(sending, ordinalsWithId(sending.batch, duplicateCount));
  }

  #owe(sending: Sending): void {
    sending.isOwed = true;
    this.#owed.push(sending);
    if (this.#current === sending) this.#current = undefined;
  }

  /**
   * Refuses the current batch, unless an attempt may have applied it. `refuse` makes the refusal of that many events.
   */
  refuseUnsent(refuse: (eventCount: number) => Refusal): void {
    const sending = this.#current;
    if (sending === undefined || sending.isInFlight || mustBeStored(sending)) return;
    if (sending.isAnsweredUnknown) {
      this.#endUnstored(sending);
      return;
    }
    sending.opened!.resolve(refuse(sending.batch.eventCount));
    this.#end(sending);
  }

  /** Answers "unknown" to all who still wait for an outcome. */
  stop(): void {
    this.#isStopped = true;
    const sending = this.#current;
    const isOpen = sending !== undefined && (sending.isInFlight || mustBeStored(sending));
    for (const open of isOpen ? [sending, ...this.#owed] : this.#owed) {
      open.cancelTimeout?.();
      this.#answerUnknown(open);
    }
  }
}

/** The batch may have been applied or acknowledged, so it is sent until its fate is known or open. */
function mustBeStored({ opened, doubt, isOwed }: Sending): boolean {
  return opened === undefined || doubt !== undefined || isOwed;
}

function mayHaveApplied(error: unknown): boolean {
  return !(error instanceof HotUnavailableError) || error.mayHaveApplied;
}

/** The ordinals of the first `count` events with an id: only those can be duplicates. */
function ordinalsWithId({ groups }: Batch, count: number): number[] {
  const ordinals: number[] = [];
  let first = 0;
  for (const { ids, users } of groups) {
    for (let i = 0; ids !== null && i < users.length && ordinals.length < count; i++) {
      if (ids[i] !== null) ordinals.push(first + i);
    }
    first += users.length;
  }
  return ordinals;
}

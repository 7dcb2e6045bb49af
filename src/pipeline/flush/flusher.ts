/**
 * Keeps the committed batches of a writer until they are flushed, as many as memory has room for (the ring), and moves
 * them to the cold store, on a timer or as soon as there are enough.
 *
 * Invariants:
 * - All of the ring is in the journal too, so losing it loses nothing.
 * - Ring and journal are released only after the cold store has committed.
 * - A failed flush is retried unchanged, which the store's watermark makes harmless.
 * - Batches that did not fit into the ring form one range of seqs, the spill, and are read back from the journal. So
 *   memory is bounded however long the cold store is down.
 * - The journal is never read beyond the last offered batch: the outcome of later ones is not settled yet.
 */
import { countEvents, type JournaledBatch } from "../../domain/event.ts";
import type { Ledger } from "../../domain/ledger.ts";
import { backoffMs, type Clock } from "../../runtime/clock.ts";
import { errorText } from "../../runtime/error-text.ts";
import { InvariantError, type InvariantHandler } from "../../runtime/invariant-error.ts";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import { ColdUnavailableError, WriterSealedError } from "../../store/cold.ts";
import type { ColdShard } from "../../store/cold-shard.ts";
import type { HotStore } from "../../store/hot.ts";

interface FlusherOptions {
  readonly hot: HotStore;
  readonly cold: ColdShard;
  readonly ringRoom: RingRoom;
  readonly ledger: Ledger;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly clock: Clock;
  readonly flushIntervalMs: number;
  /** In one transaction: FLUSH_MAX_EVENTS. */
  readonly flushMaxEvents: number;
  /** The writer is sealed although the hot store considers it alive, so it must be given up. */
  readonly onSealed: () => void;
  readonly onBrokenInvariant: InvariantHandler;
}

/** How exactly CommitTimes knows when a batch was committed. */
const RESOLUTION_MS = 100;
const MAX_MARKS = 4_096;
const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 2_000;
const MAX_RETRY_AFTER_S = 60;
/** Assumed until a flush has been measured. */
const FIRST_EVENTS_PER_S = 50_000;
/** Weight of the newest flush in the moving average. */
const RATE_WEIGHT = 0.2;

/** Room for `events` events, shared by the rings of all shards. */
export class RingRoom {
  readonly events: number;
  usedEvents = 0;

  constructor(events: number) {
    if (!Number.isSafeInteger(events) || events < 1) {
      throw new RangeError(`Cannot make a ring of ${events} events: it takes a positive integer`);
    }
    this.events = events;
  }
}

/** Committed batches, oldest first. */
export class RingBuffer {
  readonly #room: RingRoom;
  #batches: JournaledBatch[] = [];
  #head = 0;
  #eventCount = 0;

  constructor(room: RingRoom) {
    this.#room = room;
  }

  get eventCount(): number {
    return this.#eventCount;
  }

  get isEmpty(): boolean {
    return this.#head === this.#batches.length;
  }

  /** Returns false, and does nothing, if the batch does not fit. */
  push(batch: JournaledBatch): boolean {
    if (this.#room.usedEvents + batch.eventCount > this.#room.events) return false;
    const lastSeq = this.isEmpty ? 0 : this.#batches.at(-1)!.seq;
    if (batch.seq <= lastSeq) throw new InvariantError(`batch ${batch.seq} was put into the ring after ${lastSeq}`);
    this.#batches.push(batch);
    this.#count(batch.eventCount);
    return true;
  }

  #count(events: number): void {
    this.#eventCount += events;
    this.#room.usedEvents += events;
  }

  /** The oldest batches below `beforeSeq`, not removed: up to `maxEvents` events, but at least one batch if any. */
  peek(maxEvents: number, beforeSeq = Number.POSITIVE_INFINITY): readonly JournaledBatch[] {
    let end = this.#head;
    let eventCount = 0;
    while (end < this.#batches.length && this.#batches[end]!.seq < beforeSeq) {
      eventCount += this.#batches[end]!.eventCount;
      if (end > this.#head && eventCount > maxEvents) break;
      end += 1;
    }
    return this.#batches.slice(this.#head, end);
  }

  dropAfter(seq: number): void {
    while (!this.isEmpty && this.#batches.at(-1)!.seq > seq) {
      this.#count(-this.#batches.pop()!.eventCount);
    }
  }

  releaseThrough(seq: number): void {
    while (!this.isEmpty && this.#batches[this.#head]!.seq <= seq) {
      this.#count(-this.#batches[this.#head]!.eventCount);
      this.#head += 1;
    }
    if (this.#eventCount < 0 || (this.#eventCount > 0 && this.isEmpty))
      throw new InvariantError(`the ring counts ${this.#eventCount} events after batch ${seq} was released`);
    // Compacts once half of the array is unused: constant work per batch.
    if (this.#head > 64 && this.#head * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head);
      this.#head = 0;
    }
  }

  clear(): void {
    this.#batches = [];
    this.#head = 0;
    this.#count(-this.#eventCount);
  }
}

/**
 * Remembers when the oldest unflushed batch was committed, without a time per batch. Invariant: the answer is never too
 * late, and too early by at most RESOLUTION_MS below MAX_MARKS marks (a backlog of about 7 minutes).
 */
class CommitTimes {
  #marks: { readonly seq: number; readonly at: number }[] = [];

  committed(seq: number, now: number): void {
    const last = this.#marks.at(-1);
    if (last !== undefined && (now - last.at < RESOLUTION_MS || this.#marks.length >= MAX_MARKS)) return;
    this.#marks.push({ seq, at: now });
  }

  /** `isEmpty`: no committed batch is left. */
  flushedThrough(seq: number, isEmpty: boolean): void {
    const firstPending = seq + 1;
    const kept = this.#marks.findLastIndex((mark) => mark.seq <= firstPending);
    if (isEmpty) this.#marks = [];
    else if (kept > 0) this.#marks.splice(0, kept);
  }

  get oldest(): number | undefined {
    return this.#marks[0]?.at;
  }

  clear(): void {
    this.#marks = [];
  }
}

interface Spill {
  readonly fromSeq: number;
  toSeq: number;
  eventCount: number;
}

/** How many of a writer's events the cold store has confirmed. */
export interface StoredOfWriter {
  readonly writer: string;
  readonly events: number;
}

/** A writer's events, and its unflushed batches as far as they are in memory. */
export interface WriterBooks {
  readonly accepted: number;
  readonly persisted: number;
  readonly unflushed: readonly JournaledBatch[];
  /** Seq of the last unflushed batch, in memory or not; 0 if all are flushed. */
  readonly unflushedSeq: number;
  readonly flushedSeq: number;
}

const NO_BOOKS: WriterBooks = { accepted: 0, persisted: 0, unflushed: [], unflushedSeq: 0, flushedSeq: 0 };

interface WriterProgress {
  readonly writer: string;
  readonly epoch: number;
  /** The last committed batch whose outcome is known here. */
  offeredSeq: number;
  flushedSeq: number;
  trimmedSeq: number;
  acceptedEvents: number;
  /** Events committed by this writer and not known to be persisted. */
  pendingEvents: number;
  spill: Spill | undefined;
}

export class Flusher {
  readonly #options: FlusherOptions;
  readonly #ring: RingBuffer;
  readonly #commitTimes = new CommitTimes();
  #progress: WriterProgress | undefined;
  #endTimer = () => {};
  #wakeUp: (() => void) | undefined;
  #flushing: Promise<void> | undefined;
  #failures = 0;
  #isStopping = false;
  #isSuspended = false;
  /** Since the writer began, reopenCold() or a failure. A call to an open store costs a message to its thread. */
  #isColdOpen = false;
  #lastError: unknown;
  #eventsPerS = FIRST_EVENTS_PER_S;

  constructor(options: FlusherOptions) {
    this.#options = options;
    this.#ring = new RingBuffer(options.ringRoom);
  }

  /** Of the present writer; undefined if there is none. */
  get stored(): StoredOfWriter | undefined {
    const progress = this.#progress;
    return progress && { writer: progress.writer, events: storedOf(progress) };
  }

  /** At the next flush: another server of the hot store may have taken over, which does not know of the last trim. */
  trimAgain(): void {
    if (this.#progress !== undefined) this.#progress.trimmedSeq = 0;
  }

  get pendingEvents(): number {
    return this.#progress?.pendingEvents ?? 0;
  }

  /** Pending events that are also in memory. */
  get ringEvents(): number {
    return this.#ring.eventCount;
  }

  get oldestPendingMs(): number {
    const { oldest } = this.#commitTimes;
    return oldest === undefined ? 0 : Math.max(0, this.#options.clock.now() - oldest);
  }

  /** Why the last flush failed; undefined if it succeeded. Either store may be the cause. */
  get lastError(): string | undefined {
    return this.#lastError === undefined ? undefined : errorText(this.#lastError);
  }

  get isColdStoreFailing(): boolean {
    return this.#lastError instanceof ColdUnavailableError;
  }

  /** Estimates how long the backlog takes to drain: 1 to 60 s. */
  get drainS(): number {
    const ageS = this.oldestPendingMs / 1_000;
    // While the cold store is down only the age helps: an outage that has lasted long is likely to last longer.
    const drainS = this.#lastError === undefined ? this.pendingEvents / this.#eventsPerS : ageS / 10;
    return Math.ceil(Math.min(Math.max(drainS, 1), MAX_RETRY_AFTER_S));
  }

  start(): void {
    const { clock, flushIntervalMs } = this.#options;
    this.#endTimer = clock.every(flushIntervalMs, () => this.#flushSoon());
    this.#flushSoon();
  }

  /** Another server may have taken over: the next flush asks the cold store whether it may be used. */
  reopenCold(): void {
    this.#isColdOpen = false;
  }

  beginWriter(writer: string, epoch: number): void {
    this.endWriter();
    this.#isColdOpen = false;
    this.#progress = {
      writer,
      epoch,
      offeredSeq: 0,
      flushedSeq: 0,
      trimmedSeq: 0,
      acceptedEvents: 0,
      pendingEvents: 0,
      spill: undefined,
    };
  }

  offer(batch: JournaledBatch): void {
    const progress = this.#progress;
    if (progress === undefined) throw new Error(`batch ${batch.seq} was offered, but no writer has begun`);
    if (batch.seq !== progress.offeredSeq + 1)
      throw new InvariantError(`batch ${batch.seq} was offered after batch ${progress.offeredSeq}`);
    progress.offeredSeq = batch.seq;
    if (batch.eventCount === 0) {
      // Only duplicates. The ring is bounded by events, so it could collect any number of such batches.
      if (progress.pendingEvents === 0) progress.flushedSeq = batch.seq;
      return;
    }
    progress.acceptedEvents += batch.eventCount;
    progress.pendingEvents += batch.eventCount;
    this.#commitTimes.committed(batch.seq, this.#options.clock.now());
    if (!this.#ring.push(batch)) this.#spill(progress, batch);
    if (progress.pendingEvents >= this.#options.flushMaxEvents) this.#flushSoon();
  }

  /** Flushes what was committed before this call, unless that fails or takes longer. Never throws. */
  async flushCommitted(timeoutMs: number): Promise<void> {
    const progress = this.#progress;
    if (progress === undefined) return;
    const committed = progress.acceptedEvents;
    const timeout = Promise.withResolvers<void>();
    let isOver = false;
    const cancel = this.#options.clock.after(timeoutMs, () => {
      isOver = true;
      timeout.resolve();
    });
    while (!isOver && progress === this.#progress && storedOf(progress) < committed) {
      this.#flushSoon();
      if (this.#flushing === undefined || this.#lastError !== undefined) break;
      await Promise.race([this.#flushing, timeout.promise]);
    }
    cancel();
  }

  #spill(progress: WriterProgress, batch: JournaledBatch): void {
    progress.spill ??= { fromSeq: batch.seq, toSeq: batch.seq, eventCount: 0 };
    const before = this.#ring.eventCount;
    // What the ring accepted after the spill joins the spill, so that it stays one range.
    this.#ring.dropAfter(progress.spill.toSeq);
    progress.spill.toSeq = batch.seq;
    progress.spill.eventCount += before - this.#ring.eventCount + batch.eventCount;
  }

  #flushSoon(): void {
    if (this.#flushing !== undefined || this.#isSuspended || this.#progress === undefined) return;
    this.#flushing = this.#flushDue().finally(() => {
      this.#flushing = undefined;
    });
  }

  /**
   * Flushes, retrying after failures, until less than a full transaction is left. The rest waits for the timer, because
   * a transaction for a few events costs more than everything else they need. Never throws.
   */
  async #flushDue(): Promise<void> {
    while (!this.#isSuspended) {
      try {
        const isDone = !(await this.#flushChunk());
        if (this.#failures > 0) this.#noteRecovery();
        this.#failures = 0;
        this.#lastError = undefined;
        if (isDone || (this.pendingEvents < this.#options.flushMaxEvents && !this.#isStopping)) return;
      } catch (error) {
        if (error instanceof InvariantError) {
          this.#isSuspended = true;
          return this.#options.onBrokenInvariant(error);
        }
        this.#noteFailure(error);
        if (this.#isStopping) return;
        const { random } = this.#options.clock;
        await this.#sleep(backoffMs(this.#failures - 1, RETRY_FIRST_MS, RETRY_MAX_MS, random));
      }
    }
  }

  #noteFailure(error: unknown): void {
    if (error instanceof WriterSealedError) this.#options.onSealed();
    this.#lastError = error;
    this.#isColdOpen = false;
    this.#options.metrics.flushFailures.inc();
    if (this.#failures === 0) {
      const fields = { error: errorText(error), pendingEvents: this.pendingEvents };
      this.#options.log.warn(fields, "flush failed; retrying");
    }
    this.#failures += 1;
  }

  #noteRecovery(): void {
    const fields = { failures: this.#failures, pendingEvents: this.pendingEvents };
    this.#options.log.info(fields, "flushing works again; the backlog is draining");
  }

  /** Flushes one transaction's worth. Returns false if nothing was pending. */
  async #flushChunk(): Promise<boolean> {
    const { cold, hot, ledger, metrics, clock } = this.#options;
    if (!this.#isColdOpen) await cold.open();
    this.#isColdOpen = true;
    const progress = this.#progress;
    if (progress === undefined) return false;
    const batches = await this.#nextBatches(progress);
    const last = batches.at(-1);
    if (last !== undefined) {
      checkRange(progress, batches[0]!.seq, last.seq);
      const startMs = clock.monotonicMs();
      await cold.flush(progress.writer, batches, progress.epoch);
      const eventCount = countEvents(batches);
      const tookMs = clock.monotonicMs() - startMs;
      metrics.flushSeconds.observe(tookMs / 1_000);
      metrics.flushEvents.observe(eventCount);
      const rate = (eventCount * 1_000) / Math.max(tookMs, 1);
      this.#eventsPerS += RATE_WEIGHT * (rate - this.#eventsPerS);
      this.#release(progress, last.seq, eventCount);
      ledger.persisted += eventCount;
      if (ledger.pending < 0) throw new InvariantError(`${ledger.pending} events are pending in the ledger`);
    }
    const { flushedSeq } = progress;
    if (progress.trimmedSeq < flushedSeq) {
      await hot.trimJournal(progress.writer, flushedSeq, storedOf(progress));
      progress.trimmedSeq = flushedSeq;
    }
    return last !== undefined;
  }

  #release(progress: WriterProgress, throughSeq: number, eventCount: number): void {
    progress.pendingEvents -= eventCount;
    const { writer, pendingEvents } = progress;
    if (pendingEvents < 0) throw new InvariantError(`${pendingEvents} events of writer ${writer} are pending`);
    // If nothing is pending, batches with only duplicates that arrived during the flush are finished too.
    progress.flushedSeq = progress.pendingEvents === 0 ? progress.offeredSeq : throughSeq;
    const { spill } = progress;
    if (spill !== undefined && throughSeq >= spill.fromSeq) spill.eventCount -= eventCount;
    if (spill !== undefined && throughSeq >= spill.toSeq) {
      if (spill.eventCount !== 0)
        throw new InvariantError(`${spill.eventCount} events are left of a spill that was flushed`);
      progress.spill = undefined;
    }
    this.#ring.releaseThrough(throughSeq);
    this.#commitTimes.flushedThrough(throughSeq, progress.pendingEvents === 0);
  }

  async #nextBatches(progress: WriterProgress): Promise<readonly JournaledBatch[]> {
    const { hot, flushMaxEvents } = this.#options;
    const { spill } = progress;
    if (spill === undefined) return this.#ring.peek(flushMaxEvents);
    const beforeSpill = this.#ring.peek(flushMaxEvents, spill.fromSeq);
    if (beforeSpill.length > 0) return beforeSpill;
    const batches = await hot.readJournal(progress.writer, progress.flushedSeq, flushMaxEvents);
    const spilled = batches.filter((batch) => batch.seq <= spill.toSeq);
    if (spilled.length > 0) return spilled;
    const { fromSeq, toSeq } = spill;
    throw new Error(`batches ${fromSeq} to ${toSeq} of writer ${progress.writer} are not in the journal`);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(ms, resolve);
      this.#wakeUp = () => {
        cancel();
        resolve();
      };
    });
  }

  /** Waits for the flush in flight, whatever its outcome, and starts no other. Returns the state of the writer. */
  async suspend(): Promise<WriterBooks> {
    this.#isSuspended = true;
    this.#wakeUp?.();
    await this.#flushing;
    const progress = this.#progress;
    if (progress === undefined) return NO_BOOKS;
    const { acceptedEvents, flushedSeq, spill } = progress;
    const unflushed = this.#ring.peek(Number.POSITIVE_INFINITY);
    return {
      accepted: acceptedEvents,
      persisted: storedOf(progress),
      unflushed,
      unflushedSeq: Math.max(unflushed.at(-1)?.seq ?? 0, spill?.toSeq ?? 0),
      flushedSeq,
    };
  }

  /** Called when the writer is given up: nothing more of it is flushed here. */
  endWriter(): void {
    this.#ring.clear();
    this.#commitTimes.clear();
    this.#progress = undefined;
  }

  resume(): void {
    this.#isSuspended = false;
    this.#failures = 0;
  }

  /** Flushes what is left, with one attempt. Returns whether nothing is pending. */
  async stop(): Promise<boolean> {
    this.#endTimer();
    this.#isStopping = true;
    this.#wakeUp?.();
    await this.#flushing;
    await this.#flushDue();
    return this.pendingEvents === 0;
  }
}

function storedOf({ acceptedEvents, pendingEvents }: WriterProgress): number {
  return acceptedEvents - pendingEvents;
}

/** The watermark only moves forward, and never past the last offered batch. */
function checkRange({ writer, flushedSeq, offeredSeq }: WriterProgress, fromSeq: number, toSeq: number): void {
  if (flushedSeq < fromSeq && fromSeq <= toSeq && toSeq <= offeredSeq) return;
  const found = `batches ${fromSeq} to ${toSeq} of writer ${writer} were about to be flushed`;
  throw new InvariantError(`${found}, with ${flushedSeq} flushed and ${offeredSeq} offered`);
}

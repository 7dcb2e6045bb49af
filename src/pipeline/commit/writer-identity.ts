/**
 * Under which name this process writes, and what becomes of the batches of a name that it lost.
 *
 * Invariants:
 * - A name is used by one process, once: a writer that was fenced, or that the hot store does not know any more, is
 *   never taken up again but replaced by a new one.
 * - A batch of a lost writer is committed under the new one (an orphan) only after the old one was sealed in the cold
 *   store, and only if it is above the watermark then: so that no adopter, however late, stores it a second time.
 */
import { countEvents, type JournaledBatch } from "../../domain/batch.ts";
import type { Ledger } from "../../domain/ledger.ts";
import { UserHash } from "../../domain/unique-users/user-hash.ts";
import { invariant } from "../../runtime/assert.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { ColdUnavailableError } from "../../store/cold/errors.ts";
import { type HotStore, HotUnavailableError } from "../../store/hot.ts";
import type { Flusher, WriterBooks } from "../flush/flusher.ts";
import { type AdoptionOptions, initializeDataSet, sealWriter } from "../upkeep/journal-adoption.ts";

/** The batch above the last one whose outcome is known: the only one that may be in doubt. */
export interface Doubt {
  readonly seq: number;
  readonly isOrphan: boolean;
}

/** What became of a batch in doubt. "open": nobody can tell; it may be in the journal, and is not to be sent again. */
export type Fate = { readonly acceptedEvents: number } | "unstored" | "open";

export interface WriterIdentityOptions {
  readonly hot: HotStore;
  readonly flusher: Flusher;
  readonly adoption: AdoptionOptions;
  readonly ledger: Ledger;
  readonly log: Log;
  readonly clock: Clock;
}

const UINT32 = 2 ** 32;

export class WriterIdentity {
  readonly #options: WriterIdentityOptions;
  /** Acknowledged batches of earlier writers that no store has: to be committed before anything else. */
  readonly orphans: JournaledBatch[] = [];
  #name: string | undefined;
  #users: UserHash | undefined;
  isLost = false;
  /** Of the writer that was given up, and not replaced yet. */
  #given: { readonly name: string; readonly fate: Fate | undefined } | undefined;

  constructor(options: WriterIdentityOptions) {
    this.#options = options;
  }

  /** How users enter the sketches of the data set that the writer was registered with. */
  get users(): UserHash {
    if (this.#users === undefined) throw new Error("no writer was registered yet");
    return this.#users;
  }

  /** The hot store has a copy, so that events are taken also while the cold store is unavailable. */
  async #userKey(): Promise<Uint8Array> {
    const { hot, adoption } = this.#options;
    const held = await hot.userKey();
    if (held !== undefined) return held;
    await adoption.cold.open();
    return (await hot.userKey((await adoption.cold.dataSet()).userKey))!;
  }

  get name(): string | undefined {
    return this.#name;
  }

  /**
   * Gives up the present writer, if there is one, and registers a new one. Answers what became of the batch in doubt.
   * Throws HotUnavailableError or ColdUnavailableError: may then be called again.
   */
  async replace(doubt: Doubt | undefined): Promise<Fate | undefined> {
    const { hot, flusher, log, adoption } = this.#options;
    await hot.open();
    // Before the data set is initialized: a flush after that could bring events into an hour just taken for empty.
    if (this.#name !== undefined) {
      this.#given = { name: this.#name, fate: await this.#giveUp(this.#name, doubt) };
      this.#name = undefined;
    }
    if ((await hot.initializedMsAgo()) === undefined) await initializeDataSet(adoption);
    this.#users = new UserHash(await this.#userKey());
    const name = this.#newName();
    if (!(await hot.register(name))) {
      throw new HotUnavailableError("The hot store lost its data while a writer was registered", false);
    }
    flusher.beginWriter(name);
    const given = this.#given;
    if (given !== undefined) {
      const fields = { old: given.name, writer: name, orphans: this.orphans.length };
      log.warn(fields, "this process lost its writer, and took a new one");
    }
    this.#given = undefined;
    this.#name = name;
    this.isLost = false;
    return given?.fate;
  }

  async #giveUp(writer: string, doubt: Doubt | undefined): Promise<Fate | undefined> {
    const { hot, flusher, ledger } = this.#options;
    const ended = await hot.abandon(writer);
    const books = await flusher.suspend();
    try {
      const lastSeq = ended?.lastSeq ?? 0;
      const isAllInJournal = Math.max(books.unflushedSeq, doubt?.seq ?? 0) <= lastSeq;
      const fate = isAllInJournal
        ? doubt && { acceptedEvents: ended!.acceptedEvents - books.accepted }
        : await this.#settle(writer, ended !== undefined, books, doubt, lastSeq);
      if (ended === undefined && isAllInJournal) await this.#signalLoss(writer, books.flushedSeq);
      if (isAllInJournal || fate === "open") ledger.handedOver += books.accepted - books.persisted;
      flusher.endWriter();
      return fate;
    } finally {
      flusher.resume();
    }
  }

  /** Batches may be in neither store, or may have been flushed by an adopter from a journal that is gone by now. */
  async #settle(
    writer: string,
    hasJournal: boolean,
    books: WriterBooks,
    doubt: Doubt | undefined,
    lastSeq: number,
  ): Promise<Fate | undefined> {
    const { adoption, ledger, log } = this.#options;
    let sealed: Awaited<ReturnType<typeof sealWriter>>;
    try {
      sealed = await sealWriter(adoption, writer, hasJournal);
    } catch (error) {
      // Only a batch that nobody was told is stored: better left open than all others refused meanwhile.
      const isOnlyDoubt = books.unflushedSeq <= lastSeq && doubt?.isOrphan === false;
      if (error instanceof ColdUnavailableError && isOnlyDoubt) return "open";
      throw error;
    }
    if (!hasJournal) await this.#signalLoss(writer, sealed.watermark);
    const orphans = books.unflushed.filter(({ seq }) => seq > sealed.watermark);
    const isDoubtStored = doubt !== undefined && doubt.seq <= sealed.watermark;
    const stored = isDoubtStored ? books.accepted : sealed.events;
    const lost = books.accepted - stored - countEvents(orphans);
    invariant(lost >= 0, `${lost} events of writer ${writer} were lost`);
    if (lost > 0) log.error({ lost }, "the hot store lost batches that only its journal held");
    ledger.lost += lost;
    ledger.handedOver += stored - books.persisted;
    this.orphans.unshift(...orphans);
    if (doubt === undefined) return undefined;
    return isDoubtStored ? { acceptedEvents: sealed.events - books.accepted } : "unstored";
  }

  /**
   * The hot store does not know the writer. Another instance may have initialized it before the writer's last flush,
   * and then it lacks what that brought: so it is told the watermark, notices that, and is initialized again.
   */
  async #signalLoss(writer: string, watermark: number): Promise<void> {
    await this.#options.hot.removeJournal(writer, watermark);
  }

  /** Prolongs the lease; notes if it is lost. Throws HotUnavailableError. */
  async renew(committedSeq: number): Promise<void> {
    const name = this.#name;
    // A lost one is left alone: to a data set that was just initialized it would be a sign of loss.
    if (name === undefined || this.isLost) return;
    const state = await this.#options.hot.renewLease(name, committedSeq);
    if (state === "lost" && name === this.#name) this.isLost = true;
  }

  /** Sorts by time, for whoever reads the table of writers. At most 64 characters of ASCII. */
  #newName(): string {
    const { clock } = this.#options;
    const random = () => Math.floor(clock.random() * UINT32).toString(36);
    return `${clock.now().toString(36)}-${random()}-${random()}`;
  }
}

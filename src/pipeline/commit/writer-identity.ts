/**
 * The name under which this process writes, and the batches of names that it lost.
 *
 * Invariants:
 * - A name is used by one process, once: a writer that was fenced, or that the hot store no longer knows, is replaced
 *   by a new one and never used again.
 * - A batch of a lost writer is committed under the new one (as an orphan) only after the old writer was sealed in the
 *   cold store, and only if the batch is above its watermark. So no adopter, however late, can store it a second time.
 * - A batch that is left to adopters stays in memory until they have stored it: if the hot store loses the journal
 *   first, the batch becomes an orphan.
 */
import { countEvents, type JournaledBatch } from "../../domain/event.ts";
import type { Ledger } from "../../domain/ledger.ts";
import { UserHash } from "../../domain/unique-users/user-hash.ts";
import type { Clock } from "../../runtime/clock.ts";
import { InvariantError } from "../../runtime/invariant-error.ts";
import type { Log } from "../../runtime/log.ts";
import { ColdUnavailableError, type DataSet } from "../../store/cold.ts";
import { type HotStore, HotUnavailableError, type Initialization } from "../../store/hot.ts";
import type { Flusher, RingRoom, WriterBooks } from "../flush/flusher.ts";
import { eventsLostByCold, initializeDataSet, lacksWriters } from "../upkeep/data-loss.ts";
import type { IdRestoration } from "../upkeep/id-restoration.ts";
import { type AdoptionOptions, type SealedWriter, sealWriter } from "../upkeep/journal-adoption.ts";

const EMPTY_HOT_STORE =
  "the hot store is empty, though this database was used with one before: it has lost its data, or REDIS_URL now " +
  "names a different Redis; events still only in the old one's journals are not in the database";
const OTHER_EPOCH =
  "the hot store holds an earlier state of this data: it was restored from a backup, or another one was used since. " +
  "Its journals are stored in the database, its hours are dropped";
const LACKS_WRITERS =
  "the hot store does not know writers that have stored events, or not all of their batches: it has lost data, as in " +
  "a failover, and is initialized again";
const COLD_SET_BACK =
  "the cold store was set back to an earlier state, as by a restored backup or a failover to a copy that lagged: it " +
  "lacks events that it had stored. They are lost unless they are sent again. The hot store, which still counts " +
  "them, is initialized again from the cold store";

const LOST =
  "the hot store lost batches that only its journal held, or the cold store was set back to before it stored them";

/** The batch after the last one whose outcome is known: the only one that may be in doubt. */
export interface Doubt {
  readonly seq: number;
  readonly isOrphan: boolean;
  readonly eventCount: number;
}

/** What became of a batch in doubt. */
export type SettledFate = { readonly acceptedEvents: number } | "unstored";
/** "open": it cannot be known yet. It may be in a store, and must not be sent again before checkLeft() settles it. */
export type Fate = SettledFate | "open";

interface WriterIdentityOptions {
  readonly hot: HotStore;
  readonly flusher: Flusher;
  readonly adoption: AdoptionOptions;
  readonly ledger: Ledger;
  readonly log: Log;
  readonly clock: Clock;
  readonly ids: IdRestoration;
  readonly ringRoom: RingRoom;
}

/** What an adopter has to store of a writer. */
interface LeftJournal {
  /** Those that are still in memory. */
  readonly batches: readonly JournaledBatch[];
  readonly lastSeq: number;
  /** Events of the writer, stored or not, without those of `open`. */
  readonly acceptedEvents: number;
  /** … of these: stored when it was left. */
  readonly persistedEvents: number;
  /** The batch in doubt, if its fate stayed open. */
  readonly open: Doubt | undefined;
}

const UINT32 = 2 ** 32;
/** How long the cold store may take to say whether the hot data set is current. Events do not need it otherwise. */
const COLD_CHECK_MS = 500;

export class WriterIdentity {
  readonly #options: WriterIdentityOptions;
  /** Acknowledged batches of earlier writers that are in no store: committed before anything else. */
  readonly orphans: JournaledBatch[] = [];
  /** Writers whose journals are left to adopters. */
  readonly #left = new Map<string, LeftJournal>();
  /** Undefined while there is no writer. */
  name: string | undefined;
  /** Hashes users as the sketches of the writer's data set require; undefined before the first writer. */
  users: UserHash | undefined;
  isLost = false;
  #isSealed = false;
  /** The epoch of the present writer. */
  #epoch = 0;
  /** The former writer, until its replacement is registered. */
  #given: { readonly name: string; readonly fate: Fate | undefined } | undefined;

  constructor(options: WriterIdentityOptions) {
    this.#options = options;
  }

  /**
   * The hot store keeps a copy, so that events are accepted even while the cold store is unavailable. Throws
   * ConfigError if the hot store belongs to another database.
   */
  async #ensureDataSet(): Promise<DataSet> {
    const { hot, adoption, log } = this.#options;
    const { cold } = adoption;
    const held = await hot.dataSet();
    cold.expectDataSet(held);
    if (held !== undefined) {
      await this.#askCold(() => cold.open());
      cold.refuseOther();
      await hot.bind(held.identity);
      return held;
    }
    await cold.open();
    const epoch = await cold.epoch();
    if (epoch > 0) log.warn({ epoch, hotStore: hot.description }, EMPTY_HOT_STORE);
    const recorded = (await hot.dataSet(await cold.dataSet()))!;
    cold.expectDataSet(recorded);
    await hot.bind(recorded.identity);
    return recorded;
  }

  async #ensureInitialized(): Promise<Initialization | undefined> {
    const { hot, adoption, clock } = this.#options;
    const found = await hot.initialization();
    if (found !== undefined && (await this.#askCold(() => this.#isCurrent(found.epoch))) !== false) return found;
    await initializeDataSet(adoption, clock);
    return await hot.initialization();
  }

  /** Uninitializes a data set that is not current. */
  async #isCurrent(epoch: number): Promise<boolean> {
    const { hot, adoption, log } = this.#options;
    const { cold } = adoption;
    const current = await cold.epoch();
    if (current === epoch) return await this.#isWhole(epoch);
    if (current > epoch) log.warn({ epoch, current, hotStore: hot.description }, OTHER_EPOCH);
    else {
      const lostEvents = await eventsLostByCold(adoption);
      log.warn({ epoch, current, lostEvents }, COLD_SET_BACK);
      // The next epoch must be one that no data set had.
      await cold.beginEpoch(current, epoch);
    }
    await this.#discardWithIds(epoch);
    return false;
  }

  /**
   * Rows of some ids may be gone. Whoever initializes the data set looks for that, too, but may not see it: it knows
   * nothing of this process's own events, and others may have stored as many since, at another master.
   */
  async #discardWithIds(epoch: number): Promise<void> {
    const { hot } = this.#options;
    await hot.discard(epoch);
    await hot.forgetIds();
  }

  /** Compares what both stores have. Uninitializes a data set of this epoch if either lacks something. */
  async #isWhole(epoch: number): Promise<boolean> {
    const { flusher, adoption, log } = this.#options;
    if (await lacksWriters(adoption, epoch)) {
      log.warn({ epoch }, LACKS_WRITERS);
      return false;
    }
    const lostEvents = await eventsLostByCold(adoption, flusher.stored);
    if (lostEvents === 0) return true;
    log.warn({ epoch, lostEvents }, COLD_SET_BACK);
    await this.#discardWithIds(epoch);
    return false;
  }

  /**
   * Notices that the hot store lacks batches of writers that have ended, or the cold store events that it had; the next
   * renewal of the lease then finds the data set uninitialized. Notices as well that another data set was set up since,
   * as while Redis has two masters, or that the cold store is of an earlier epoch: the writer is sealed then. Returns
   * false if so, or if there is no writer. Throws HotUnavailableError or ColdUnavailableError.
   */
  async compareWriters(): Promise<boolean> {
    const { name } = this;
    if (name === undefined || this.isLost) return false;
    const isLatest = (await this.#options.adoption.cold.epoch()) === this.#epoch;
    if (!isLatest && name === this.name) this.noteSealed();
    return isLatest && (await this.#isWhole(this.#epoch));
  }

  /** Returns undefined if the cold store does not answer soon. */
  async #askCold<T>(ask: () => Promise<T>): Promise<T | undefined> {
    const { clock } = this.#options;
    const answer = ask().catch((error) => {
      if (error instanceof ColdUnavailableError) return undefined;
      throw error;
    });
    answer.catch(() => {});
    return await Promise.race([answer, clock.sleep(COLD_CHECK_MS).then(() => undefined)]);
  }

  /** Called when the cold store refuses the writer's batches. */
  noteSealed(): void {
    this.#isSealed = true;
    this.isLost = true;
  }

  /**
   * Gives up the present writer, if any, and registers a new one. Returns what became of the batch in doubt. Throws
   * HotUnavailableError or ColdUnavailableError, and may then be called again.
   */
  async replace(doubt: Doubt | undefined): Promise<Fate | undefined> {
    const { hot, flusher, log, ids } = this.#options;
    await hot.open();
    if (this.name !== undefined) {
      this.#given = { name: this.name, fate: await this.#giveUp(this.name, doubt) };
      this.name = undefined;
    }
    this.users = new UserHash((await this.#ensureDataSet()).userKey);
    const initialized = await this.#ensureInitialized();
    // It may have been emptied since.
    const isWhole = (await hot.dataSet()) !== undefined;
    const name = this.#newName();
    if (initialized === undefined || !isWhole || !(await hot.register(name, initialized.epoch))) {
      throw new HotUnavailableError("The hot store lost its data while a writer was registered", false);
    }
    ids.begin(initialized);
    flusher.beginWriter(name, initialized.epoch);
    this.#epoch = initialized.epoch;
    const given = this.#given;
    if (given !== undefined) {
      const fields = { old: given.name, writer: name, orphans: this.orphans.length };
      log.warn(fields, "this process lost its writer and took a new one");
    }
    this.#given = undefined;
    this.name = name;
    this.isLost = false;
    this.#isSealed = false;
    return given?.fate;
  }

  async #giveUp(writer: string, doubt: Doubt | undefined): Promise<Fate | undefined> {
    const { hot, flusher, ledger } = this.#options;
    const ended = await hot.abandon(writer);
    const books = await flusher.suspend();
    try {
      const lastSeq = ended?.lastSeq ?? 0;
      // A sealed writer was adopted. After a failover its adopter may have read another master's journal, without the
      // last batches: no one else will store these.
      const isAllInJournal = !this.#isSealed && Math.max(books.unflushedSeq, doubt?.seq ?? 0) <= lastSeq;
      const fate = isAllInJournal
        ? doubt && { acceptedEvents: ended!.acceptedEvents - books.accepted }
        : await this.#settle(writer, ended !== undefined, books, doubt, lastSeq);
      if (ended === undefined && isAllInJournal) await this.#signalLoss(writer, books.flushedSeq);
      if (isAllInJournal || fate === "open") {
        const settled = isAllInJournal ? await this.#journaled(writer, doubt) : [];
        ledger.handedOver += books.accepted - books.persisted;
        this.#leave(writer, {
          batches: [...books.unflushed, ...settled],
          lastSeq: Math.max(books.unflushedSeq, doubt?.seq ?? 0),
          acceptedEvents: books.accepted + acceptedOf(fate),
          persistedEvents: books.persisted,
          open: fate === "open" ? doubt : undefined,
        });
      }
      flusher.endWriter();
      return fate;
    } finally {
      flusher.resume();
    }
  }

  /** Batches may be in neither store, or an adopter may have flushed them from a journal that is gone by now. */
  async #settle(
    writer: string,
    hasJournal: boolean,
    books: WriterBooks,
    doubt: Doubt | undefined,
    lastSeq: number,
  ): Promise<Fate | undefined> {
    const { adoption, ledger, log } = this.#options;
    let sealed: SealedWriter;
    try {
      sealed = await sealWriter(adoption, writer, hasJournal, Math.max(books.unflushedSeq, doubt?.seq ?? 0));
    } catch (error) {
      // No caller was told that this batch is stored: leaving it open is better than refusing all others meanwhile.
      const isOnlyDoubt = books.unflushedSeq <= lastSeq && doubt?.isOrphan === false;
      if (error instanceof ColdUnavailableError && isOnlyDoubt) return "open";
      throw error;
    }
    if (!hasJournal) await this.#signalLoss(writer, sealed.watermark);
    const orphans = books.unflushed.filter(({ seq }) => seq > sealed.watermark);
    const fate = doubt && fateOf(doubt, books.accepted, sealed);
    const stored = sealed.events - acceptedOf(fate);
    const lost = books.accepted - stored - countEvents(orphans);
    if (lost < 0) throw new InvariantError(`${lost} events of writer ${writer} were lost`);
    if (lost > 0) log.error({ lost }, LOST);
    ledger.lost += lost;
    this.#handOver(stored - books.persisted);
    this.orphans.unshift(...orphans);
    return fate;
  }

  /**
   * The hot store does not know the writer. If another instance initialized it before the writer's last flush, it lacks
   * what that flush stored. Telling it the watermark makes it notice and be initialized again.
   */
  async #signalLoss(writer: string, watermark: number): Promise<void> {
    await this.#options.hot.removeJournal(writer, watermark);
  }

  /**
   * The batch in doubt as its journal has it: without duplicates, which only the commit's answer would have named. None
   * if an adopter has stored it meanwhile.
   */
  async #journaled(writer: string, doubt: Doubt | undefined): Promise<readonly JournaledBatch[]> {
    if (doubt === undefined) return [];
    const { hot } = this.#options;
    const [batch] = await hot.readJournal(writer, doubt.seq - 1, 1);
    if (batch?.seq === doubt.seq) return [batch];
    if ((await hot.abandon(writer)) !== undefined) return [];
    throw new HotUnavailableError(`The hot store lost the journal of writer ${writer} while it was read`, false);
  }

  #leave(writer: string, journal: LeftJournal): void {
    if (journal.acceptedEvents === 0 && journal.lastSeq === 0) return;
    this.#left.set(writer, journal);
    this.#options.ringRoom.usedEvents += heldEvents(journal);
  }

  /**
   * Checks whether adopters have stored what was left to them, and calls `settle` with the batches whose fate is not
   * open any longer. The caller repeats it. Throws HotUnavailableError or ColdUnavailableError.
   */
  async checkLeft(settle: (doubt: Doubt, fate: SettledFate) => void): Promise<void> {
    if (this.#left.size === 0) return;
    const { hot, adoption, ringRoom } = this.#options;
    const owners = await hot.journalOwners();
    for (const [writer, journal] of [...this.#left]) {
      if (owners.some((owner) => owner.writer === writer)) continue;
      const sealed = await sealWriter(adoption, writer, false, journal.lastSeq);
      this.#left.delete(writer);
      ringRoom.usedEvents -= heldEvents(journal);
      this.#takeBack(writer, journal, sealed);
      if (journal.open !== undefined) settle(journal.open, fateOf(journal.open, journal.acceptedEvents, sealed));
    }
  }

  /** `events` is negative if the cold store was set back, and lacks so many that were persisted. */
  #handOver(events: number): void {
    const { ledger } = this.#options;
    ledger.handedOver += Math.max(0, events);
    ledger.persisted += Math.min(0, events);
  }

  /** The journal is gone: what was not stored before is taken from memory, or lost. */
  #takeBack(writer: string, journal: LeftJournal, { watermark, events }: SealedWriter): void {
    const { ledger, log } = this.#options;
    const { batches, acceptedEvents, persistedEvents } = journal;
    const orphans = batches.filter(({ seq }) => seq > watermark);
    const orphanEvents = countEvents(orphans);
    // Less than 0 if a batch was stored whose fate stayed open.
    const lost = Math.max(0, acceptedEvents - events - orphanEvents);
    const unstored = orphanEvents + lost;
    ledger.handedOver -= acceptedEvents - persistedEvents;
    this.#handOver(acceptedEvents - persistedEvents - unstored);
    ledger.lost += lost;
    this.orphans.push(...orphans);
    if (orphans.length > 0)
      log.warn({ writer, orphans: orphans.length }, "the journal of a former writer was lost before it was stored");
    if (lost > 0) log.error({ writer, lost }, LOST);
  }

  /** Renews the lease, and notes if it is lost. Throws HotUnavailableError. */
  async renew(committedSeq: number): Promise<void> {
    const name = this.name;
    // A lost writer must not renew: a data set that was just initialized would take that for a sign of loss.
    if (name === undefined || this.isLost) return;
    const state = await this.#options.hot.renewLease(name, committedSeq);
    if (state === "lost" && name === this.name) this.isLost = true;
  }

  /** Sorts by time, which helps people who read the table of writers. At most 64 ASCII characters. */
  #newName(): string {
    const { clock } = this.#options;
    const random = () => Math.floor(clock.random() * UINT32).toString(36);
    return `${clock.now().toString(36)}-${random()}-${random()}`;
  }
}

/**
 * `acceptedEvents` of the writer are in batches before the one in doubt. If the cold store was set back and lacks some
 * of those, as many of this one pass for duplicates.
 */
function fateOf({ seq }: Doubt, acceptedEvents: number, sealed: SealedWriter): SettledFate {
  return seq <= sealed.watermark ? { acceptedEvents: Math.max(0, sealed.events - acceptedEvents) } : "unstored";
}

/** Events of a batch that was in doubt and is known to be stored. */
function acceptedOf(fate: Fate | undefined): number {
  return typeof fate === "object" ? fate.acceptedEvents : 0;
}

function heldEvents({ batches, open }: LeftJournal): number {
  return countEvents(batches) + (open?.eventCount ?? 0);
}

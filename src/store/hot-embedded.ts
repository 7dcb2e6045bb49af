/**
 * The hot store in this process: counts and sketches in memory, journal and event ids in SQLite under
 * `dataDir`, one fsynced transaction per batch.
 *
 * Invariants: memory holds only what the journal held first. At start memory is empty, so the data set is
 * not born until every journal found on disk has been flushed and removed. The file is locked for as long as
 * the process lives: there is never a second one on the same folder.
 */
import { Database, type Statement } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  type Batch,
  decodeBatch,
  encodeBatch,
  type JournaledBatch,
  withoutDuplicates,
} from "../count/batch.ts";
import { errorText } from "../count/deadline.ts";
import { HOUR_MS, type HourKey, hourKeyName, ID_TTL_MS } from "../count/event.ts";
import { type HourRange, type HourRecord, includes } from "../count/hour-range.ts";
import { letOthersRun } from "../count/pause.ts";
import { Sketch } from "../count/sketch.ts";
import type { ColdHour } from "./cold.ts";
import {
  type CommitResult,
  type HotStore,
  HotUnavailableError,
  type HourRead,
  type JournalOwner,
  type LeaseState,
  type VoidResult,
} from "./hot.ts";

interface HeldHour {
  readonly stream: string;
  readonly hour: number;
  clicks: number;
  impressions: number;
  readonly sketch: Sketch;
  /** Of the present writer: 0 if it has not touched this hour. */
  lastSeq: number;
}

interface WriterState {
  readonly name: string;
  last: number;
  flushed: number;
  fenced: boolean;
}

export interface EmbeddedHotStoreOptions {
  readonly dataDir: string;
  readonly now: () => number;
}

/** Expired ids deleted with each batch: twice what a batch may add would do; small, so that it never shows. */
const EXPIRED_IDS_PER_COMMIT = 200;

/** Between two pieces of a range the event loop can run: about 1 ms of merging the largest sketches. */
const HOURS_PER_PIECE = 100;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS writers (writer TEXT PRIMARY KEY, accepted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS journal (
    writer TEXT NOT NULL, seq INTEGER NOT NULL, body TEXT NOT NULL, duplicates TEXT NOT NULL,
    PRIMARY KEY (writer, seq)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS ids (
    stream TEXT NOT NULL, id TEXT NOT NULL, expires_at INTEGER NOT NULL,
    PRIMARY KEY (stream, id)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS ids_by_expiry ON ids (expires_at);
`;

export function embeddedHotStore(options: EmbeddedHotStoreOptions): HotStore {
  return new EmbeddedHotStore(options);
}

class EmbeddedHotStore implements HotStore {
  readonly description: string;
  readonly #dataDir: string;
  readonly #now: () => number;
  #database: Database | undefined;
  readonly #statements = new Map<string, Statement>();
  readonly #hours = new Map<string, HeldHour>();
  #freshFrom: number | undefined;
  #retirements = 0;
  #writer: WriterState | undefined;

  constructor(options: EmbeddedHotStoreOptions) {
    this.#dataDir = resolve(options.dataDir);
    this.#now = options.now;
    this.description = `memory, journal in ${this.#dataDir}`;
  }

  get isReady(): boolean {
    return this.#database !== undefined;
  }

  async open(): Promise<readonly string[]> {
    if (this.#database !== undefined) return [];
    const path = join(this.#dataDir, "journal.sqlite");
    try {
      mkdirSync(this.#dataDir, { recursive: true });
      const database = new Database(path, { create: true, strict: true });
      // The lock is taken with the first write and kept: a second process fails here, at start.
      database.run("PRAGMA locking_mode = EXCLUSIVE");
      database.run("PRAGMA journal_mode = WAL");
      // FULL: fsync at each commit. NORMAL would lose the last commits at a power cut.
      database.run("PRAGMA synchronous = FULL");
      // The log is written over again, not cut, below this size.
      database.run("PRAGMA journal_size_limit = 16777216");
      database.run("BEGIN IMMEDIATE");
      database.run(SCHEMA);
      database.run("COMMIT");
      this.#database = database;
    } catch (error) {
      const isLocked = errorText(error).includes("locked");
      const advice = isLocked
        ? "another Hourglass is running on this folder: stop it, or set DATA_DIR to another folder"
        : "DATA_DIR has to be a folder that this process may write to";
      throw new HotUnavailableError(
        `Cannot open the journal ${path}: ${errorText(error)}; ${advice}`,
        false,
        {
          cause: error,
        },
      );
    }
    return [];
  }

  async isBorn(): Promise<boolean> {
    return this.#freshFrom !== undefined;
  }

  async bear(freshFrom: number): Promise<boolean> {
    if (this.#freshFrom !== undefined) return true;
    if ((await this.journalOwners()).length > 0) return false;
    this.#freshFrom = freshFrom;
    return true;
  }

  async register(writer: string): Promise<boolean> {
    if (this.#freshFrom === undefined) return false;
    this.#transaction("register", () => this.#run("INSERT INTO writers (writer) VALUES (?)", [writer]));
    this.#writer = { name: writer, last: 0, flushed: 0, fenced: false };
    // What an earlier writer put there is not flushed before its journal is gone: retire() asks for that.
    for (const held of this.#hours.values()) held.lastSeq = 0;
    return true;
  }

  async renewLease(writer: string, _committedSeq: number): Promise<LeaseState> {
    return this.#writer?.name === writer && !this.#writer.fenced ? "held" : "lost";
  }

  async abandon(writer: string): Promise<number> {
    if (this.#writer?.name !== writer) return 0;
    this.#writer.fenced = true;
    return this.#writer.last;
  }

  async commit(writer: string, seq: number, batch: Batch): Promise<CommitResult> {
    const state = this.#writer;
    const freshFrom = this.#freshFrom;
    if (state === undefined || state.name !== writer || freshFrom === undefined) return { status: "unknown" };
    if (state.fenced) return { status: "fenced", lastSeq: state.last };
    if (seq <= state.last) return { status: "committed", duplicates: this.#journaledDuplicates(writer, seq) };
    if (seq > state.last + 1) throw new Error(`batch ${seq} of ${writer} comes after ${state.last}`);
    const absent = absentGroups(batch, freshFrom, this.#hours);
    if (absent.length > 0) return { status: "absent", groups: absent };

    const duplicates = this.#transaction("commit", () => {
      const found = this.#claimIds(batch);
      const row = [writer, seq, encodeBatch(batch), found.join(",")];
      this.#run("INSERT INTO journal (writer, seq, body, duplicates) VALUES (?, ?, ?, ?)", row);
      this.#addAccepted(writer, batch.eventCount - found.length);
      return found;
    });
    state.last = seq;
    this.#count(withoutDuplicates(seq, batch, duplicates));
    return { status: "committed", duplicates };
  }

  #addAccepted(writer: string, eventCount: number): void {
    this.#run("UPDATE writers SET accepted = accepted + ? WHERE writer = ?", [eventCount, writer]);
  }

  #journaledDuplicates(writer: string, seq: number): number[] {
    const row = this.#get("SELECT duplicates FROM journal WHERE writer = ? AND seq = ?", [writer, seq]);
    return row === null ? [] : ordinals(String(row["duplicates"]));
  }

  /** Remembers the batch's ids; answers the ordinals of the events whose id was known already. */
  #claimIds(batch: Batch): number[] {
    const duplicates: number[] = [];
    const now = this.#now();
    let ordinal = 0;
    for (const group of batch.groups) {
      for (let i = 0; i < group.users.length; i++, ordinal++) {
        const id = group.ids?.[i] ?? null;
        if (id === null) continue;
        const changes = this.#run(
          `INSERT INTO ids (stream, id, expires_at) VALUES (?, ?, ?)
           ON CONFLICT (stream, id) DO UPDATE SET expires_at = excluded.expires_at WHERE expires_at <= ?`,
          [group.stream, id, now + ID_TTL_MS, now],
        );
        if (changes === 0) duplicates.push(ordinal);
      }
    }
    this.#run(
      `DELETE FROM ids WHERE (stream, id) IN
         (SELECT stream, id FROM ids WHERE expires_at <= ? ORDER BY expires_at LIMIT ${EXPIRED_IDS_PER_COMMIT})`,
      [now],
    );
    return duplicates;
  }

  #count(batch: JournaledBatch): void {
    for (const group of batch.groups) {
      const held = this.#hold(group);
      held.clicks += group.clicks;
      held.impressions += group.impressions;
      for (const register of group.registers) held.sketch.add(register);
      held.lastSeq = batch.seq;
    }
  }

  #hold(key: HourKey): HeldHour {
    const name = hourKeyName(key.stream, key.hour);
    let held = this.#hours.get(name);
    if (held === undefined) {
      const { stream, hour } = key;
      held = { stream, hour, clicks: 0, impressions: 0, sketch: new Sketch(), lastSeq: 0 };
      this.#hours.set(name, held);
    }
    return held;
  }

  async voidBatch(writer: string, seq: number): Promise<VoidResult> {
    const state = this.#writer;
    if (state === undefined || state.name !== writer) return { status: "unknown" };
    if (state.fenced) return { status: "fenced", lastSeq: state.last };
    // It was not counted, as its commit failed; but it may have reached the disk all the same.
    this.#transaction("void", () => {
      const row = this.#get("SELECT body, duplicates FROM journal WHERE writer = ? AND seq = ?", [
        writer,
        seq,
      ]);
      if (row === null) return;
      const applied = decodeBatch(seq, String(row["body"]), ordinals(String(row["duplicates"])));
      for (const { stream, ids } of applied.groups) this.#forgetIds(stream, ids ?? []);
      this.#addAccepted(writer, -applied.eventCount);
      this.#run("DELETE FROM journal WHERE writer = ? AND seq = ?", [writer, seq]);
    });
    state.last = Math.max(state.last, seq);
    return { status: "voided" };
  }

  #forgetIds(stream: string, ids: readonly (string | null)[]): void {
    for (const id of ids) {
      if (id !== null) this.#run("DELETE FROM ids WHERE stream = ? AND id = ?", [stream, id]);
    }
  }

  async read(keys: readonly HourKey[]): Promise<readonly HourRead[] | "unborn"> {
    const freshFrom = this.#freshFrom;
    if (freshFrom === undefined) return "unborn";
    return keys.map((key): HourRead => {
      const held = this.#hours.get(hourKeyName(key.stream, key.hour));
      if (held === undefined) return { status: key.hour >= freshFrom ? "empty" : "absent" };
      const { clicks, impressions, sketch } = held;
      return { status: "present", counts: { clicks, impressions, uniqueUsers: sketch.count() } };
    });
  }

  async readRange(range: HourRange, visit: (hour: HourRecord) => void): Promise<number | "unborn"> {
    const freshFrom = this.#freshFrom;
    if (freshFrom === undefined) return "unborn";
    // All of this instant. One that is retired while the others are shown was complete when it was.
    const held = [...this.#hours.values()].filter((hour) => includes(range, hour));
    for (const [i, hour] of held.entries()) {
      visit(hour);
      if (i % HOURS_PER_PIECE === HOURS_PER_PIECE - 1) await letOthersRun();
    }
    return freshFrom;
  }

  async retirementMark(): Promise<number> {
    return this.#retirements;
  }

  async hydrate(key: HourKey, cold: ColdHour | undefined, retirementMark: number): Promise<boolean> {
    if (this.#hours.has(hourKeyName(key.stream, key.hour))) return true;
    if (retirementMark !== this.#retirements) return false;
    const held = this.#hold(key);
    if (cold !== undefined) {
      held.clicks = cold.clicks;
      held.impressions = cold.impressions;
      held.sketch.merge(cold.sketch);
    }
    return true;
  }

  async retire(beforeHour: number): Promise<number> {
    if (await this.#isOtherJournalLeft()) return 0;
    const flushed = this.#writer?.flushed ?? 0;
    let retired = 0;
    for (const held of this.#hours.values()) {
      if (held.hour >= beforeHour || held.lastSeq > flushed) continue;
      this.#drop(held);
      retired += 1;
    }
    return retired;
  }

  async retireHour(key: HourKey): Promise<boolean> {
    const lastSeq = this.#hours.get(hourKeyName(key.stream, key.hour))?.lastSeq ?? 0;
    if (this.#freshFrom === undefined || lastSeq > (this.#writer?.flushed ?? 0)) return false;
    if (await this.#isOtherJournalLeft()) return false;
    this.#drop(key);
    return true;
  }

  /** Of an earlier writer: it is not known which hours its batches touched. */
  async #isOtherJournalLeft(): Promise<boolean> {
    const owners = await this.journalOwners();
    return owners.some(({ writer }) => writer !== this.#writer?.name);
  }

  #drop({ stream, hour }: HourKey): void {
    this.#hours.delete(hourKeyName(stream, hour));
    this.#freshFrom = Math.max(this.#freshFrom ?? 0, hour + HOUR_MS);
    this.#retirements += 1;
  }

  async readJournal(writer: string, afterSeq: number, maxEvents: number): Promise<readonly JournaledBatch[]> {
    const batches: JournaledBatch[] = [];
    const query = "SELECT seq, body, duplicates FROM journal WHERE writer = ? AND seq > ? ORDER BY seq";
    let eventCount = 0;
    for (const row of this.#open("read the journal").query(query).iterate(writer, afterSeq)) {
      const { seq, body, duplicates } = row as { seq: number; body: string; duplicates: string };
      const batch = decodeBatch(seq, body, ordinals(duplicates));
      batches.push(batch);
      eventCount += batch.eventCount;
      if (eventCount >= maxEvents) break;
    }
    return batches;
  }

  async trimJournal(writer: string, throughSeq: number): Promise<void> {
    this.#transaction("trim", () =>
      this.#run("DELETE FROM journal WHERE writer = ? AND seq <= ?", [writer, throughSeq]),
    );
    if (this.#writer?.name === writer) this.#writer.flushed = Math.max(this.#writer.flushed, throughSeq);
  }

  async journalOwners(): Promise<readonly JournalOwner[]> {
    const rows = this.#open("list journals").query("SELECT writer, accepted FROM writers").all();
    return rows.map((row) => {
      const { writer, accepted } = row as { writer: string; accepted: number };
      return { writer, adoptable: this.#isDead(writer), acceptedEvents: accepted };
    });
  }

  /** The file is locked: any other writer than the one of this process has ended. */
  #isDead(writer: string): boolean {
    return this.#writer?.name !== writer || this.#writer.fenced;
  }

  async fence(writer: string): Promise<boolean> {
    return this.#isDead(writer);
  }

  async removeJournal(writer: string, _watermark: number): Promise<void> {
    this.#transaction("remove a journal", () => {
      this.#run("DELETE FROM journal WHERE writer = ?", [writer]);
      this.#run("DELETE FROM writers WHERE writer = ?", [writer]);
    });
  }

  async close(): Promise<void> {
    for (const statement of this.#statements.values()) statement.finalize();
    this.#statements.clear();
    this.#database?.close();
    this.#database = undefined;
  }

  #open(what: string): Database {
    if (this.#database === undefined) {
      throw new HotUnavailableError(`Cannot ${what}: the journal is not open`, false);
    }
    return this.#database;
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#open("prepare").prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #run(sql: string, parameters: (string | number)[]): number {
    return this.#statement(sql).run(...parameters).changes;
  }

  #get(sql: string, parameters: (string | number)[]): Record<string, unknown> | null {
    return this.#statement(sql).get(...parameters) as Record<string, unknown> | null;
  }

  #transaction<T>(what: string, body: () => T): T {
    const database = this.#open(what);
    try {
      this.#run("BEGIN IMMEDIATE", []);
      const result = body();
      this.#run("COMMIT", []);
      return result;
    } catch (error) {
      if (database.inTransaction) database.run("ROLLBACK");
      // Whether a commit that failed at its fsync is on the disk is not known.
      throw new HotUnavailableError(
        `The journal in ${this.#dataDir} could not do '${what}': ${errorText(error)}`,
        true,
        {
          cause: error,
        },
      );
    }
  }
}

function absentGroups(batch: Batch, freshFrom: number, hours: ReadonlyMap<string, HeldHour>): number[] {
  const absent: number[] = [];
  batch.groups.forEach((group, position) => {
    if (group.hour < freshFrom && !hours.has(hourKeyName(group.stream, group.hour))) absent.push(position);
  });
  return absent;
}

function ordinals(list: string): number[] {
  return list === "" ? [] : list.split(",").map(Number);
}

/**
 * The embedded hot store's journal and event ids: SQLite in JOURNAL_FILE of `dataDir`.
 *
 * A transaction appends to SQLite's write-ahead log without waiting for the disk (synchronous = NORMAL). sync() waits
 * with fdatasync, off the event loop: when SQLite synced by itself, a commit blocked it for 0.3 ms instead of 0.03 ms.
 *
 * Invariants: once sync() has returned, everything written before its call is on disk. The log is one file written in
 * order, so a crash loses only its end. The file is locked while the process lives, so no second process uses the same
 * folder. Nothing is reported as written once the opened files are no longer those that a restart would find.
 */
import { Database, type Statement } from "bun:sqlite";
import { closeSync, existsSync, fdatasync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { ID_TTL_MS } from "../../domain/event-ids.ts";
import { codeOf, errorText } from "../../runtime/error-text.ts";
import type { DataSet } from "../cold.ts";
import { HotUnavailableError, type KnownEpochs } from "../hot.ts";
import { identityOf, JOURNAL_FILE, LOG_SIZE_LIMIT_BYTES, openingAdvice } from "./files.ts";

export interface EmbeddedJournalOptions {
  readonly dataDir: string;
  /** Tests pass a failing disk. */
  readonly syncFile?: ((fd: number) => Promise<void>) | undefined;
}

export interface JournalRow {
  readonly seq: number;
  readonly body: string;
  /** Comma-separated ordinals of events that do not count. */
  readonly duplicates: string;
}

interface OpenFile {
  readonly database: Database;
  /** The write-ahead log, for fdatasync. SQLite holds no lock on it that closing this descriptor would release. */
  readonly logFd: number;
  /** The files' identities when they were opened, by path. */
  readonly identities: ReadonlyMap<string, string | undefined>;
}

/** Expired ids deleted with each commit that brings ids: few enough to be unnoticeable. */
const EXPIRED_IDS_PER_COMMIT = 200;
const VERSION = 2;
/** More than a page that one id changes. */
const BYTES_PER_ID = 4_096;
/**
 * Most batches write less. One that writes more, up to 40 MB, may be refused again after a trial that fit; but a disk
 * on which 40 MB never fit would refuse all events after it for good.
 */
const TRIAL_MAX_BYTES = 1_048_576;
/** No event has an empty stream, and these rows have expired from the start. */
const TRIAL_STREAM = "";

/**
 * entry: the writer's base + seq, so that all batches are appended to one tree, next to their neighbours. base: above
 * all entries that existed when the writer began. accepted: the writer's events up to this entry.
 */
const SCHEMA = `
  CREATE TABLE writers (
    writer TEXT PRIMARY KEY, base INTEGER NOT NULL, accepted INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE journal (
    entry INTEGER PRIMARY KEY, body TEXT NOT NULL, duplicates TEXT NOT NULL, accepted INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE ids (
    stream TEXT NOT NULL, id TEXT NOT NULL, expires_at INTEGER NOT NULL,
    PRIMARY KEY (stream, id)
  ) WITHOUT ROWID;
  CREATE INDEX ids_by_expiry ON ids (expires_at);
  CREATE TABLE data_set (
    id INTEGER PRIMARY KEY CHECK (id = 1), identity TEXT NOT NULL, user_key BLOB NOT NULL
  ) STRICT;
  CREATE TABLE epochs (
    id INTEGER PRIMARY KEY CHECK (id = 1), initialized INTEGER NOT NULL, announced INTEGER NOT NULL
  ) STRICT;
  PRAGMA user_version = ${VERSION};
`;

const READ_DATA_SET = "SELECT identity, user_key AS userKey FROM data_set";
const BASE = "(SELECT base FROM writers WHERE writer = ?1)";
/** Ends where the next writer begins. */
const ENTRIES_OF_WRITER = `entry > ${BASE} AND
  entry <= (SELECT COALESCE(MIN(base), 9007199254740991) FROM writers WHERE base > ${BASE})`;

export class EmbeddedJournal {
  readonly #dataDir: string;
  readonly #syncFile: (fd: number) => Promise<void>;
  #file: OpenFile | undefined;
  readonly #statements = new Map<string, Statement>();
  #isLogDoubtful = false;
  /** The files were deleted or replaced: a restart would not find what is written now. */
  #areFilesLost = false;
  /** What the present transaction writes, at most. */
  #unwrittenBytes = 0;
  /** What the next trial writes; undefined if no transaction has failed since the last one. */
  #refusedBytes: number | undefined;

  constructor({ dataDir, syncFile = syncToDisk }: EmbeddedJournalOptions) {
    this.#dataDir = dataDir;
    this.#syncFile = syncFile;
  }

  get isOpen(): boolean {
    return this.#file !== undefined && !this.#areFilesLost;
  }

  /** Throws HotUnavailableError. */
  open(): void {
    if (this.#file !== undefined) {
      this.#checkFiles("open", this.#file, false);
      return;
    }
    const path = join(this.#dataDir, JOURNAL_FILE);
    try {
      mkdirSync(this.#dataDir, { recursive: true });
      this.#file = openFile(path);
      syncFolder(this.#dataDir);
    } catch (error) {
      const isLocked = errorText(error).includes("locked");
      const advice = isLocked
        ? "another Hourglass is running on this folder: stop it, or set DATA_DIR to another folder"
        : openingAdvice(error);
      const why = advice === undefined ? errorText(error) : `${errorText(error)}; ${advice}`;
      throw new HotUnavailableError(`Cannot open the journal ${path}: ${why}`, false, { cause: error });
    }
  }

  /** Atomic. Throws HotUnavailableError. */
  transaction<T>(what: string, body: () => T): T {
    this.#checkFiles(what, this.#opened(what), false);
    return this.transactionBeforeSync(what, body);
  }

  /** Like transaction(), for callers that sync() before they report success: sync() checks the files (about 10 µs). */
  transactionBeforeSync<T>(what: string, body: () => T): T {
    const file = this.#opened(what);
    if (this.#areFilesLost) this.#checkFiles(what, file, false);
    const { database } = file;
    let isCommitting = false;
    this.#unwrittenBytes = 0;
    try {
      this.#run("BEGIN IMMEDIATE", []);
      const result = body();
      isCommitting = true;
      this.#run("COMMIT", []);
      return result;
    } catch (error) {
      if (database.inTransaction) database.run("ROLLBACK");
      this.#refusedBytes = Math.min(Math.max(this.#refusedBytes ?? 0, this.#unwrittenBytes), TRIAL_MAX_BYTES);
      // With a full disk, the frame that marks the commit, written last, had no room.
      throw this.#unavailable(what, error, isCommitting && codeOf(error) !== "SQLITE_FULL");
    }
  }

  /**
   * After a transaction has failed, tries to write as much as it would have (but at most TRIAL_MAX_BYTES), and to
   * delete that again, until this succeeds. Costs nothing otherwise. Throws HotUnavailableError.
   */
  tryAgain(): void {
    const bytes = this.#refusedBytes;
    if (bytes === undefined) return;
    const insert = "INSERT INTO ids (stream, id, expires_at) VALUES (?, zeroblob(?), 0)";
    const remove = "DELETE FROM ids WHERE stream = ?";
    this.transaction("write a trial", () => {
      this.#run(remove, [TRIAL_STREAM]);
      this.#run(insert, [TRIAL_STREAM, bytes]);
    });
    this.transaction("delete a trial", () => this.#run(remove, [TRIAL_STREAM]));
    this.#refusedBytes = undefined;
  }

  /** Throws HotUnavailableError: then only what was on disk before is known to be there. */
  async sync(what: string): Promise<void> {
    const file = this.#opened(what);
    const { database, logFd } = file;
    try {
      if (this.#isLogDoubtful) writeBack(database);
      else await this.#syncFile(logFd);
      this.#isLogDoubtful = false;
    } catch (error) {
      // The kernel may drop pages that it could not write, and report success at the next attempt.
      this.#isLogDoubtful = true;
      throw this.#unavailable(what, error, true);
    }
    this.#checkFiles(what, file, true);
  }

  /** Throws HotUnavailableError. */
  #checkFiles(what: string, { identities }: OpenFile, mayHaveApplied: boolean): void {
    for (const [path, identity] of identities) {
      if (this.#areFilesLost || identityOf(path) !== identity) {
        this.#areFilesLost = true;
        const message = `Cannot ${what}: ${path} was deleted or replaced while it was in use: restart the service`;
        throw new HotUnavailableError(message, mayHaveApplied);
      }
    }
  }

  /** The recorded data set. If none is recorded, `offered` is. */
  dataSet(offered: DataSet | undefined): DataSet | undefined {
    if (offered !== undefined) {
      const insert = "INSERT INTO data_set (id, identity, user_key) VALUES (1, ?, ?) ON CONFLICT DO NOTHING";
      this.#statement(insert).run(offered.identity, offered.userKey);
    }
    const row = this.#statement(READ_DATA_SET).get() as DataSet | null;
    return row ?? undefined;
  }

  epochs(): KnownEpochs | undefined {
    const row = this.#statement("SELECT initialized, announced FROM epochs").get() as KnownEpochs | null;
    return row ?? undefined;
  }

  /** `initialized`: undefined if it stays as it is. */
  noteEpochs(initialized: number | undefined, announced: number): void {
    this.#statement(
      `INSERT INTO epochs (id, initialized, announced) VALUES (1, COALESCE(?1, 0), ?2) ON CONFLICT DO UPDATE
       SET initialized = COALESCE(?1, initialized), announced = ?2`,
    ).run(initialized ?? null, announced);
  }

  addWriter(writer: string): void {
    this.#run(
      `INSERT INTO writers (writer, base, accepted) SELECT ?, 1 + MAX(
         COALESCE((SELECT MAX(entry) FROM journal), 0), COALESCE((SELECT MAX(base) FROM writers), 0)), 0`,
      [writer],
    );
  }

  /** `accepted`: the writer's counted events, including these. */
  append(writer: string, { seq, body, duplicates }: JournalRow, accepted: number): void {
    const insert = `INSERT INTO journal (entry, body, duplicates, accepted) VALUES (${BASE} + ?2, ?3, ?4, ?5)`;
    this.#unwrittenBytes += body.length + duplicates.length;
    this.#run(insert, [writer, seq, body, duplicates, accepted]);
  }

  entry(writer: string, seq: number): JournalRow | undefined {
    const query = `SELECT body, duplicates FROM journal WHERE entry = ${BASE} + ?2`;
    const row = this.#statement(query).get(writer, seq) as Omit<JournalRow, "seq"> | null;
    return row === null ? undefined : { seq, ...row };
  }

  *entriesAfter(writer: string, seq: number): Generator<JournalRow> {
    const query = `SELECT entry - ${BASE} AS seq, body, duplicates FROM journal
      WHERE ${ENTRIES_OF_WRITER} AND entry > ${BASE} + ?2 ORDER BY entry`;
    const { database } = this.#opened("read the journal");
    yield* database.query<JournalRow, [string, number]>(query).iterate(writer, seq);
  }

  trim(writer: string, throughSeq: number): void {
    const through = `${ENTRIES_OF_WRITER} AND entry <= ${BASE} + ?2`;
    this.#run(
      `UPDATE writers SET accepted = COALESCE(
         (SELECT accepted FROM journal WHERE ${through} ORDER BY entry DESC LIMIT 1), accepted)
       WHERE writer = ?1`,
      [writer, throughSeq],
    );
    this.#run(`DELETE FROM journal WHERE ${through}`, [writer, throughSeq]);
  }

  removeWriter(writer: string): void {
    this.#run(`DELETE FROM journal WHERE ${ENTRIES_OF_WRITER}`, [writer]);
    this.#run("DELETE FROM writers WHERE writer = ?", [writer]);
  }

  /** All writers with a journal, and how many events each accepted. */
  writers(): { writer: string; accepted: number }[] {
    const names = this.#statement("SELECT writer FROM writers").all() as { writer: string }[];
    const accepted = `SELECT COALESCE(
        (SELECT accepted FROM journal WHERE ${ENTRIES_OF_WRITER} ORDER BY entry DESC LIMIT 1),
        (SELECT accepted FROM writers WHERE writer = ?1)) AS accepted`;
    return names.map(({ writer }) => {
      const row = this.#statement(accepted).get(writer) as { accepted: number };
      return { writer, accepted: row.accepted };
    });
  }

  /** When the latest known id was claimed; 0 if there is none. */
  lastClaimAt(): number {
    const row = this.#statement("SELECT MAX(expires_at) AS last FROM ids").get() as { last: number | null };
    return row.last === null ? 0 : row.last - ID_TTL_MS;
  }

  /** Remembers the id. False if it was known. */
  claimId(stream: string, id: string, now: number): boolean {
    this.#unwrittenBytes += BYTES_PER_ID;
    const changes = this.#run(
      `INSERT INTO ids (stream, id, expires_at) VALUES (?, ?, ?)
       ON CONFLICT (stream, id) DO UPDATE SET expires_at = excluded.expires_at WHERE expires_at <= ?`,
      [stream, id, now + ID_TTL_MS, now],
    );
    return changes > 0;
  }

  forgetExpiredIds(now: number): number {
    return this.#run(
      `DELETE FROM ids WHERE (stream, id) IN
         (SELECT stream, id FROM ids WHERE expires_at <= ? ORDER BY expires_at LIMIT ${EXPIRED_IDS_PER_COMMIT})`,
      [now],
    );
  }

  close(): void {
    for (const statement of this.#statements.values()) statement.finalize();
    this.#statements.clear();
    if (this.#file === undefined) return;
    this.#file.database.close();
    closeSync(this.#file.logFd);
    this.#file = undefined;
  }

  #opened(what: string): OpenFile {
    if (this.#file === undefined) throw new HotUnavailableError(`Cannot ${what}: the journal is not open`, false);
    return this.#file;
  }

  #statement(sql: string): Statement {
    return this.#statements.getOrInsertComputed(sql, () => this.#opened("prepare").database.prepare(sql));
  }

  #run(sql: string, parameters: (string | number)[]): number {
    return this.#statement(sql).run(...parameters).changes;
  }

  #unavailable(what: string, cause: unknown, mayHaveApplied: boolean): HotUnavailableError {
    const message = `The journal in ${this.#dataDir} could not do '${what}': ${errorText(cause)}`;
    return new HotUnavailableError(message, mayHaveApplied, { cause });
  }
}

/** For other processes. Undefined if there is no journal, or while a service uses it, which has checked it itself. */
export function dataSetOfJournal(dataDir: string): DataSet | undefined {
  const path = join(dataDir, JOURNAL_FILE);
  if (!existsSync(path)) return undefined;
  let database: Database | undefined;
  try {
    // One that only reads could not delete the files that it makes beside this one.
    database = new Database(path, { readwrite: true, strict: true });
    return database.query<DataSet, []>(READ_DATA_SET).get() ?? undefined;
  } catch (error) {
    if (errorText(error).includes("locked")) return undefined;
    throw new HotUnavailableError(`Cannot read ${path}: ${errorText(error)}`, false, { cause: error });
  } finally {
    database?.close();
  }
}

function openFile(path: string): OpenFile {
  const database = new Database(path, { create: true, strict: true });
  try {
    // The first write takes the lock for good: a second process fails here, at start.
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("PRAGMA journal_mode = WAL");
    database.run("PRAGMA synchronous = NORMAL");
    database.run(`PRAGMA journal_size_limit = ${LOG_SIZE_LIMIT_BYTES}`);
    database.run("BEGIN IMMEDIATE");
    createTables(database);
    database.run("COMMIT");
    const logPath = `${path}-wal`;
    const logFd = openSync(logPath, "r+");
    return { database, logFd, identities: new Map([path, logPath].map((each) => [each, identityOf(each)])) };
  } catch (error) {
    database.close();
    throw error;
  }
}

function createTables(database: Database): void {
  const { user_version: version } = database.query("PRAGMA user_version").get() as { user_version: number };
  if (version > VERSION) throw new Error(`its version is ${version}, this build reads up to ${VERSION}`);
  if (version < VERSION) database.run(SCHEMA);
}

function syncToDisk(fd: number): Promise<void> {
  return new Promise((resolve, reject) => fdatasync(fd, (error) => (error ? reject(error) : resolve())));
}

/** Puts the names of new files in the folder on disk. */
function syncFolder(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Checkpoints the log into the database file, with fsync on both: the log's content on disk no longer matters. */
function writeBack(database: Database): void {
  const [row] = database.query("PRAGMA wal_checkpoint(TRUNCATE)").all() as { busy: number }[];
  if (row?.busy !== 0) throw new Error("the log could not be written back");
}

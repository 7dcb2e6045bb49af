/**
 * The cold store in SQLite, in the file `cold.sqlite` of `dataDir`: of one shard, the only one.
 *
 * Invariants: a flush is one transaction, on disk (fsync) before it answers, and only one is under way at a
 * time. The event loop is never kept for long: rows go in pieces, and a lock that another process holds is
 * waited for by asking again, not inside SQLite. Reads have a connection of their own, since on the writer's
 * they would see a flush half done.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import type { ApiKey } from "../../domain/api-key.ts";
import { countEvents, type JournaledBatch } from "../../domain/batch.ts";
import type { HourKey } from "../../domain/event.ts";
import type { HourRange, HourRecord } from "../../domain/hour-range.ts";
import { addErased, type ErasedCounts, type Kept, NOTHING_ERASED } from "../../domain/retention-bounds.ts";
import { backoffMs } from "../../runtime/backoff.ts";
import { errorText, withDeadline } from "../../runtime/deadline.ts";
import { letOthersRun } from "../../runtime/yield.ts";
import { type EventRow, hourAdditions, rebuiltHour, rowPieces } from "../aggregate.ts";
import {
  type ColdHour,
  type ColdStore,
  ColdUnavailableError,
  type DeadLetter,
  type ErasedHour,
  flushName,
  type HourAudit,
  type HourSize,
  type Poison,
  type ReplayResult,
  type RowKey,
  type RowPage,
  type StoredEvents,
  type StoredPoison,
  type Swept,
  type UserRow,
  type UserSelection,
  type UsersRange,
  type VisitPart,
  WriterSealedError,
} from "../cold.ts";
import { VisitorError, visitorOf } from "../row-visitor.ts";
import { migration, pendingMigrations } from "../sql/migrations.ts";
import { addApiKey, listApiKeys, revokeApiKey } from "./api-keys.ts";
import { countStoredEvents, listHourKeys, listRows, recountHour } from "./audit.ts";
import {
  countDeadLetters,
  dropDeadLetter,
  insertRow,
  listDeadLetters,
  replayDeadLetter,
  setAside,
} from "./dead-letters.ts";
import {
  countUserDeadLetters,
  countUserRows,
  eraseRows,
  eraseUserDeadLetters,
  type FoundRow,
  findUserRows,
  hourSizes,
  listErased,
  nextHourWithRows,
  ROWS_PER_PIECE as ROWS_PER_ERASURE,
  readErased,
} from "./erasure.ts";
import { addToHour, listStreams, readHour, replaceHour } from "./hours.ts";
import tables from "./migrations/0001-tables.sql" with { type: "text" };
import { dropPoison, insertPoison, listPoison } from "./poison.ts";
import { readRange, readUsers } from "./ranges.ts";
import { deletePiece, noteKept, readKept } from "./retention.ts";

export interface EmbeddedColdStoreOptions {
  readonly dataDir: string;
}

/** About 1 ms of inserts. */
const ROWS_PER_PIECE = 500;
/** Each may have a body of megabytes, though few do. */
const POISON_PER_PIECE = 50;
/** Above any write of another process that is not stuck. */
const LOCK_TIMEOUT_MS = 5_000;
/** A reader is only ever kept out for an instant: while another process recovers the log, or ends it. */
const READ_LOCK_TIMEOUT_MS = 100;
const LOCK_RETRY_FIRST_MS = 1;
const LOCK_RETRY_MAX_MS = 50;
/**
 * A commit after which the log is so long writes it back into the file, with the event loop held: at SQLite's
 * default of 1,000 pages for up to 18 ms, at 250 for 7 ms, at no loss of throughput.
 */
const LOG_PAGES_PER_CHECKPOINT = 250;
/** The log is written over again, not cut, below this size. */
const LOG_SIZE_LIMIT_BYTES = 16_777_216;
const CLOSE_GRACE_MS = 2_000;

const MIGRATIONS = [migration(1, "tables", tables)];

const CREATE_BOOKKEEPING = `
  CREATE TABLE IF NOT EXISTS schema_migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))
  ) STRICT`;

const CREATE_WRITER = "INSERT INTO writers (writer, seq) VALUES (?, 0) ON CONFLICT DO NOTHING";
const MOVE_WATERMARK = `
  UPDATE writers SET seq = ?, events = events + ?, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ') WHERE id = ?`;

interface WriterRow {
  readonly id: number;
  readonly seq: number;
  readonly sealed: number;
}

interface Connections {
  readonly writer: Database;
  readonly reader: Database;
}

export function embeddedColdStore(options: EmbeddedColdStoreOptions): ColdStore {
  return new EmbeddedColdStore(options);
}

class EmbeddedColdStore implements ColdStore {
  readonly name = "SQLite";
  readonly pastReads = undefined;
  readonly description: string;
  readonly #dataDir: string;
  readonly #path: string;
  #connections: Connections | undefined;
  #lastTurn: Promise<unknown> = Promise.resolve();

  constructor({ dataDir }: EmbeddedColdStoreOptions) {
    this.#dataDir = resolve(dataDir);
    this.#path = join(this.#dataDir, "cold.sqlite");
    this.description = `SQLite in ${this.#path}`;
  }

  async open(): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#connections !== undefined) return;
      try {
        mkdirSync(this.#dataDir, { recursive: true });
        this.#connections = await openConnections(this.#path);
      } catch (error) {
        throw this.#unavailable("open or migrate it: DATA_DIR has to be a folder it may write to", error);
      }
    });
  }

  /** One process alone has it. */
  async shardCount(): Promise<number> {
    return 1;
  }

  async fixShardCount(): Promise<number> {
    return 1;
  }

  async flush(writer: string, batches: readonly JournaledBatch[]): Promise<number> {
    if (batches.length === 0) return 0;
    const what = flushName(writer, batches);
    return await this.#transaction(what, (database) => store(database, writer, batches));
  }

  async watermark(writer: string): Promise<number> {
    return await this.#transaction(`read the watermark of writer ${writer}`, async (database) => {
      return readWriter(database, writer)?.seq ?? 0;
    });
  }

  async seal(writer: string): Promise<void> {
    await this.#transaction(`seal writer ${writer}`, async (database) => {
      database.query(CREATE_WRITER).run(writer);
      database.query("UPDATE writers SET sealed = 1 WHERE writer = ?").run(writer);
    });
  }

  async read(key: HourKey): Promise<ColdHour | undefined> {
    return this.#read(`read hour ${key.hour} of stream ${key.stream}`, (database) => readHour(database, key));
  }

  async readRange(range: HourRange, visit: VisitPart): Promise<void> {
    const visitHour = (hour: HourRecord) => visit(hour, 0);
    await this.#readInPieces("read a range of hours", visitHour, (visitor) =>
      readRange(this.#path, range, visitor),
    );
  }

  async readUsers(range: UsersRange, visit: (row: UserRow) => void): Promise<void> {
    await this.#readInPieces("read users", visit, (visitor) => readUsers(this.#path, range, visitor));
  }

  async streams(limit: number): Promise<readonly string[]> {
    return this.#read("list streams", (database) => listStreams(database, limit));
  }

  async newestHour(): Promise<number | undefined> {
    return this.#read("read the newest hour", (database) => {
      const query = database.query<{ newest: number | null }, []>("SELECT MAX(hour) AS newest FROM hourly");
      return query.get()?.newest ?? undefined;
    });
  }

  async storedEvents(writers: readonly string[]): Promise<StoredEvents> {
    return this.#read("count what is stored", (database) => countStoredEvents(database, writers));
  }

  async hourKeys(): Promise<readonly HourKey[]> {
    return this.#read("list hours", listHourKeys);
  }

  async rows(key: HourKey, after: RowKey | undefined, limit: number): Promise<RowPage> {
    return this.#read(`read rows of hour ${key.hour} of stream ${key.stream}`, (database) =>
      listRows(database, key, after, limit),
    );
  }

  async audit(key: HourKey): Promise<HourAudit> {
    return this.#read(`audit hour ${key.hour} of stream ${key.stream}`, (database) => {
      // A transaction: all that is read in it is of one instant.
      return database.transaction(() => ({
        aggregate: readHour(database, key),
        rows: recountHour(database, key),
        deadLetters: countDeadLetters(database, key),
        erased: readErased(database, key),
        kept: readKept(database),
      }))();
    });
  }

  async rebuild(key: HourKey): Promise<boolean> {
    return await this.#transaction(`rebuild hour ${key.hour} of stream ${key.stream}`, async (database) => {
      if (key.hour < readKept(database).rowsFrom) return false;
      const rebuilt = rebuiltHour(
        recountHour(database, key),
        readErased(database, key),
        readHour(database, key),
      );
      replaceHour(database, key, rebuilt);
      return true;
    });
  }

  async kept(): Promise<Kept> {
    return this.#read("read from when on rows are kept", readKept);
  }

  async sweep(kept: Kept, _now: number): Promise<Swept> {
    const isNews = await this.#transaction("note what is not kept", async (database) =>
      noteKept(database, kept),
    );
    const swept = await this.#transaction("drop what is not kept", async (database) => deletePiece(database));
    return isNews ? { ...swept, isDone: false } : swept;
  }

  async nextHourWithRows(hour: number): Promise<number | undefined> {
    return this.#read("find the next hour", (database) => nextHourWithRows(database, hour));
  }

  async hourSizes(): Promise<readonly HourSize[]> {
    return this.#read("list the sizes of hours", hourSizes);
  }

  async countUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts> {
    return this.#read(`count a user's rows of hour ${hour}`, (database) =>
      countUserRows(database, selection, hour),
    );
  }

  async eraseUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts> {
    const what = `erase a user's rows of hour ${hour}`;
    this.#overwriteDeleted(what);
    let erased = NOTHING_ERASED;
    let last: FoundRow | undefined;
    for (;;) {
      const after = last;
      const rows = this.#read(what, (database) => findUserRows(database, selection, hour, after));
      if (rows.length > 0) {
        const piece = await this.#transaction(what, async (database) => eraseRows(database, hour, rows));
        erased = addErased(erased, piece);
      }
      if (rows.length < ROWS_PER_ERASURE) return erased;
      last = rows.at(-1);
    }
  }

  /** Who is to be forgotten is not to be read in the file's free pages. */
  #overwriteDeleted(what: string): void {
    this.#read(what, () => this.#opened().writer.run("PRAGMA secure_delete = ON"));
  }

  async countUserDeadLetters(selection: UserSelection): Promise<number> {
    return this.#read("count a user's dead letters", (database) => countUserDeadLetters(database, selection));
  }

  async eraseUserDeadLetters(selection: UserSelection): Promise<readonly HourKey[]> {
    const what = "erase a user's dead letters";
    this.#overwriteDeleted(what);
    return await this.#transaction(what, async (database) => eraseUserDeadLetters(database, selection));
  }

  async erasedRows(range: UsersRange): Promise<readonly ErasedHour[]> {
    return this.#read("list what was erased", (database) => listErased(database, range));
  }

  async deadLetterCount(): Promise<number> {
    return this.#read("count dead letters", (database) => countDeadLetters(database));
  }

  async deadLetters(afterNumber: number, limit: number): Promise<readonly DeadLetter[]> {
    return this.#read("list dead letters", (database) => listDeadLetters(database, afterNumber, limit));
  }

  async replayDeadLetter(number: number): Promise<ReplayResult> {
    return await this.#transaction(`replay dead letter ${number}`, async (database) =>
      replayDeadLetter(database, number),
    );
  }

  async dropDeadLetter(number: number): Promise<boolean> {
    return await this.#transaction(`drop dead letter ${number}`, async (database) =>
      dropDeadLetter(database, number),
    );
  }

  async apiKeys(): Promise<readonly ApiKey[]> {
    return this.#read("list API keys", listApiKeys);
  }

  async addApiKey(key: ApiKey): Promise<void> {
    await this.#transaction("add an API key", async (database) => addApiKey(database, key));
  }

  async revokeApiKey(id: string, at: number): Promise<boolean> {
    return await this.#transaction("revoke an API key", async (database) => revokeApiKey(database, id, at));
  }

  async setAsidePoison(poison: readonly Poison[]): Promise<void> {
    await this.#transaction("set poison aside", async (database) => {
      for (const [i, piece] of poison.entries()) {
        insertPoison(database, piece);
        if (i % POISON_PER_PIECE === POISON_PER_PIECE - 1) await letOthersRun();
      }
    });
  }

  async poison(afterNumber: number, limit: number): Promise<readonly StoredPoison[]> {
    return this.#read("list poison", (database) => listPoison(database, afterNumber, limit));
  }

  async dropPoison(number: number): Promise<boolean> {
    return await this.#transaction(`drop poison ${number}`, async (database) => dropPoison(database, number));
  }

  async close(): Promise<void> {
    const closed = this.#inTurn(async () => {
      // The reader first: the last connection to close folds the log into the file.
      this.#connections?.reader.close();
      this.#connections?.writer.close();
      this.#connections = undefined;
    });
    await withDeadline(closed, CLOSE_GRACE_MS, () => new Error("a flush is still under way")).catch(() => {});
  }

  /** One after the other: SQLite has one writer, and a connection one transaction. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#lastTurn.then(work);
    this.#lastTurn = turn.catch(() => {});
    return turn;
  }

  #transaction<T>(what: string, body: (database: Database) => Promise<T>): Promise<T> {
    return this.#inTurn(async () => {
      try {
        const { writer } = this.#opened();
        return await inTransaction(writer, () => body(writer));
      } catch (error) {
        if (error instanceof WriterSealedError) throw error;
        throw this.#unavailable(what, error);
      }
    });
  }

  #read<T>(what: string, query: (database: Database) => T): T {
    try {
      return query(this.#opened().reader);
    } catch (error) {
      throw this.#unavailable(what, error);
    }
  }

  async #readInPieces<T>(
    what: string,
    visit: (row: T) => void,
    read: (visitor: (row: T) => void) => Promise<void>,
  ): Promise<void> {
    try {
      this.#opened();
      await read(visitorOf(visit));
    } catch (error) {
      throw error instanceof VisitorError ? error.cause : this.#unavailable(what, error);
    }
  }

  #opened(): Connections {
    if (this.#connections === undefined) throw new Error("it is not open");
    return this.#connections;
  }

  #unavailable(what: string, cause: unknown): ColdUnavailableError {
    return new ColdUnavailableError(`${this.description} could not ${what}: ${errorText(cause)}`, { cause });
  }
}

async function openConnections(path: string): Promise<Connections> {
  const writer = new Database(path, { create: true, strict: true });
  try {
    await whenNotBusy(() => writer.run("PRAGMA journal_mode = WAL"));
    // FULL: fsync at each commit. NORMAL would lose the last commits at a power cut.
    writer.run("PRAGMA synchronous = FULL");
    writer.run(`PRAGMA wal_autocheckpoint = ${LOG_PAGES_PER_CHECKPOINT}`);
    writer.run(`PRAGMA journal_size_limit = ${LOG_SIZE_LIMIT_BYTES}`);
    await inTransaction(writer, async () => migrate(writer));
    const reader = new Database(path, { readonly: true, strict: true });
    reader.run(`PRAGMA busy_timeout = ${READ_LOCK_TIMEOUT_MS}`);
    return { writer, reader };
  } catch (error) {
    writer.close();
    throw error;
  }
}

function migrate(database: Database): void {
  database.run(CREATE_BOOKKEEPING);
  const applied = database.query<{ version: number }, []>("SELECT version FROM schema_migrations").all();
  const versions = applied.map(({ version }) => version);
  for (const { version, name, statements } of pendingMigrations(MIGRATIONS, versions)) {
    for (const statement of statements) database.run(statement);
    database.run("INSERT INTO schema_migrations (version, name) VALUES (?, ?)", [version, name]);
  }
}

async function inTransaction<T>(database: Database, body: () => Promise<T>): Promise<T> {
  await whenNotBusy(() => {
    rollBack(database);
    database.run("BEGIN IMMEDIATE");
  });
  try {
    const result = await body();
    database.run("COMMIT");
    return result;
  } catch (error) {
    rollBack(database);
    throw error;
  }
}

/** After an error such as a full disk SQLite may have rolled back already. */
function rollBack(database: Database): void {
  if (database.inTransaction) database.run("ROLLBACK");
}

/** busy_timeout would sleep with the event loop held: up to 5 s in which nothing is answered. */
async function whenNotBusy(attempt: () => void): Promise<void> {
  const giveUpAt = performance.now() + LOCK_TIMEOUT_MS;
  for (let retry = 0; ; retry++) {
    try {
      return attempt();
    } catch (error) {
      if (!isBusy(error) || performance.now() >= giveUpAt) throw error;
      await Bun.sleep(backoffMs(retry, LOCK_RETRY_FIRST_MS, LOCK_RETRY_MAX_MS, Math.random));
    }
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof SQLiteError && error.code?.startsWith("SQLITE_BUSY") === true;
}

async function store(
  database: Database,
  writer: string,
  batches: readonly JournaledBatch[],
): Promise<number> {
  database.query(CREATE_WRITER).run(writer);
  const { id, seq, sealed } = readWriter(database, writer)!;
  const fresh = batches.filter((batch) => batch.seq > seq);
  const last = fresh.at(-1);
  if (last === undefined) return 0;
  if (sealed === 1) throw new WriterSealedError(`writer ${writer} is sealed at batch ${seq}`);
  const refused: EventRow[] = [];
  for (const piece of rowPieces(id, fresh, ROWS_PER_PIECE)) {
    for (const row of piece.rows()) {
      const reason = insertRow(database, row);
      if (reason === undefined) continue;
      setAside(database, row, reason);
      refused.push(row);
    }
    await letOthersRun();
  }
  for (const addition of hourAdditions(fresh, refused)) {
    addToHour(database, addition);
    await letOthersRun();
  }
  const eventCount = countEvents(fresh);
  database.query(MOVE_WATERMARK).run(last.seq, eventCount, id);
  return eventCount;
}

function readWriter(database: Database, writer: string): WriterRow | null {
  return database
    .query<WriterRow, [string]>("SELECT id, seq, sealed FROM writers WHERE writer = ?")
    .get(writer);
}

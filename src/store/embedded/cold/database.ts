/**
 * The file `cold.sqlite` of the embedded cold store.
 *
 * Invariants: one transaction runs at a time, and is on disk (fsync) before it returns. The event loop is never blocked
 * for long: writes yield between pieces, and a lock of another process is awaited by retrying, not inside SQLite. Reads
 * have their own connection, since the writer's would show them a transaction in progress.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { backoffMs, withDeadline } from "../../../runtime/clock.ts";
import { errorText } from "../../../runtime/error-text.ts";
import { ColdUnavailableError, WriterSealedError } from "../../cold.ts";
import { migration, pendingMigrations } from "../../sql/migrations.ts";
import { RowVisitorError, rowVisitor } from "../../sql/row-visitor.ts";
import type { Sql, SqlSession, SqlValue } from "../../sql/sql-runner.ts";
import { COLD_FILE, identityOf, LOG_SIZE_LIMIT_BYTES, openingAdvice } from "../files.ts";
import { ensureDataSet } from "./data-set.ts";
import tables from "./migrations/0001-tables.sql" with { type: "text" };

/** Longer than any write of another process that is not stuck. */
const LOCK_TIMEOUT_MS = 5_000;
/** Readers are locked out only for an instant, while another process recovers or removes the log. */
export const READ_LOCK_TIMEOUT_MS = 100;
const LOCK_RETRY_FIRST_MS = 1;
const LOCK_RETRY_MAX_MS = 50;
const CLOSE_GRACE_MS = 2_000;

const MIGRATIONS = [migration(1, "tables", tables)];

const CREATE_BOOKKEEPING = `
  CREATE TABLE IF NOT EXISTS schema_migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))
  ) STRICT`;

interface Connections {
  readonly writer: Database;
  readonly reader: Database;
  /** The file's identity when it was opened. */
  readonly identity: string | undefined;
}

export class SqliteDatabase {
  readonly path: string;
  readonly description: string;
  readonly #dataDir: string;
  #connections: Connections | undefined;
  #lastTurn: Promise<unknown> = Promise.resolve();

  constructor(dataDir: string) {
    this.#dataDir = resolve(dataDir);
    this.path = join(this.#dataDir, COLD_FILE);
    this.description = `SQLite in ${this.path}`;
  }

  async open(): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#connections !== undefined) return;
      try {
        mkdirSync(this.#dataDir, { recursive: true });
        this.#connections = await openConnections(this.path);
      } catch (error) {
        const advice = openingAdvice(error);
        throw this.#unavailable(`be opened or migrated${advice === undefined ? "" : ` (${advice})`}`, error);
      }
    });
  }

  transaction<T>(what: string, body: (database: Database) => T | Promise<T>): Promise<T> {
    return this.#inTurn(async () => {
      try {
        const { writer } = this.#opened();
        return await inTransaction(writer, async () => {
          const result = await body(writer);
          this.#checkFile();
          return result;
        });
      } catch (error) {
        if (error instanceof WriterSealedError) throw error;
        throw this.#unavailable(what, error);
      }
    });
  }

  /** A commit to a file that a restart won't find must not be reported as stored. */
  #checkFile(): void {
    if (identityOf(this.path) === this.#opened().identity) return;
    throw new Error("the file was deleted or replaced while it was in use: restart the service");
  }

  async read<T>(what: string, query: (database: Database) => T | Promise<T>): Promise<T> {
    try {
      return await query(this.#opened().reader);
    } catch (error) {
      throw this.#unavailable(what, error);
    }
  }

  /** Passes rows to `visit`, whose own errors are rethrown unchanged. */
  async readInPieces<T extends unknown[]>(
    what: string,
    visit: (...row: T) => void,
    read: (path: string, visitor: (...row: T) => void) => Promise<void>,
  ): Promise<void> {
    try {
      this.#opened();
      await read(this.path, rowVisitor(visit));
    } catch (error) {
      throw error instanceof RowVisitorError ? error.cause : this.#unavailable(what, error);
    }
  }

  /** For the roles that MySQL and SQLite share. */
  readonly sql: Sql = {
    read: (what, work) => this.read(what, (reader) => work(sessionOn(reader))),
    change: (what, work) => this.transaction(what, (writer) => work(sessionOn(writer))),
    isoTime,
    userValue: String,
  };

  /** From now on, deleted data is overwritten: a forgotten user must not remain readable in free pages. */
  async overwriteDeleted(what: string): Promise<void> {
    await this.read(what, () => this.#opened().writer.run("PRAGMA secure_delete = ON"));
  }

  async close(): Promise<void> {
    const closed = this.#inTurn(async () => {
      // Close the reader first: the last connection to close folds the log into the file.
      this.#connections?.reader.close();
      this.#connections?.writer.close();
      this.#connections = undefined;
    });
    await withDeadline(closed, CLOSE_GRACE_MS, () => new Error("a flush is still running")).catch(() => {});
  }

  /** Serializes work: SQLite has one writer, and a connection one transaction. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#lastTurn.then(work);
    this.#lastTurn = turn.catch(() => {});
    return turn;
  }

  #opened(): Connections {
    if (this.#connections === undefined) throw new Error("it is not open");
    return this.#connections;
  }

  #unavailable(what: string, cause: unknown): ColdUnavailableError {
    return new ColdUnavailableError(`${this.description} could not ${what}: ${errorText(cause)}`, { cause });
  }
}

function sessionOn(database: Database): SqlSession {
  return {
    rows: async <Row>(sql: string, values: SqlValue[] = []) => database.query<Row, SqlValue[]>(sql).all(...values),
    matched: async (sql, values = []) => database.query<unknown, SqlValue[]>(sql).run(...values).changes,
  };
}

/** Such columns hold texts already. */
export function isoTime(column: string): string {
  return column;
}

async function openConnections(path: string): Promise<Connections> {
  const writer = new Database(path, { create: true, strict: true });
  try {
    await whenNotBusy(() => writer.run("PRAGMA journal_mode = WAL"));
    // FULL syncs at each commit; NORMAL would lose the last commits in a power cut.
    writer.run("PRAGMA synchronous = FULL");
    writer.run(`PRAGMA journal_size_limit = ${LOG_SIZE_LIMIT_BYTES}`);
    await inTransaction(writer, async () => {
      migrate(writer);
      ensureDataSet(writer);
    });
    const reader = new Database(path, { readonly: true, strict: true });
    reader.run(`PRAGMA busy_timeout = ${READ_LOCK_TIMEOUT_MS}`);
    return { writer, reader, identity: identityOf(path) };
  } catch (error) {
    writer.close();
    throw error;
  }
}

function migrate(database: Database): void {
  database.run(CREATE_BOOKKEEPING);
  const applied = database.query<{ version: number }, []>("SELECT version FROM schema_migrations").all();
  const versions = applied.map(({ version }) => version);
  const tables = database.query<{ name: string }, []>("SELECT name FROM sqlite_master WHERE type = 'table'").all();
  const names = tables.map(({ name }) => name);
  for (const { version, name, statements } of pendingMigrations(MIGRATIONS, versions, names)) {
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

/** After an error such as a full disk, SQLite may have rolled back already. */
function rollBack(database: Database): void {
  if (database.inTransaction) database.run("ROLLBACK");
}

/** Retries here because busy_timeout would block the event loop, for up to 5 s. */
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

/**
 * The cold store in MySQL 8.4 or MariaDB 10.11: every statement here is accepted by both.
 *
 * Invariant: a flush is one transaction, which begins by locking the writer's row. Whoever flushes for the
 * same writer (a retry after a lost answer, an adopter of its journal) waits there until the outcome of the
 * one before is settled, and then sees it in the watermark. The rows of `hourly` are locked before their
 * sketches are read, so that no merge is lost between instances.
 */
import { countEvents, type JournaledBatch } from "../count/batch.ts";
import { errorText } from "../count/deadline.ts";
import { HOUR_MS, type HourKey } from "../count/event.ts";
import { Sketch } from "../count/sketch.ts";
import { EVENT_COLUMNS, eventRows, type HourAddition, hourAdditions, mergedSketch } from "./aggregate.ts";
import { type ColdHour, type ColdStore, ColdUnavailableError, WriterSealedError } from "./cold.ts";
import tables from "./migrations/mysql/0001-tables.sql" with { type: "text" };
import { migration, pendingMigrations } from "./migrations.ts";
import { type MysqlLinkOptions, MysqlPool, type MysqlSession, withOwnSession } from "./mysql-link.ts";
import { ensurePartitions } from "./mysql-partitions.ts";

export interface MysqlColdStoreOptions {
  /** mysql://user:password@host:port/database */
  readonly url: string;
  readonly now: () => number;
  /** The text of one INSERT is built without a pause: 1,000 rows take about 1 ms. */
  readonly rowsPerInsert?: number | undefined;
  /** For each statement of a flush, and for a connection to it. */
  readonly flushTimeoutMs?: number | undefined;
  /** For each statement of a read, and for a connection to it. */
  readonly readTimeoutMs?: number | undefined;
}

const DEFAULT_ROWS_PER_INSERT = 1_000;
const DEFAULT_FLUSH_TIMEOUT_MS = 10_000;
const DEFAULT_READ_TIMEOUT_MS = 1_000;

/** One for the flusher, one for the adoption of a dead writer's journal. */
const FLUSH_SESSIONS = 2;
const READ_SESSIONS = 4;
/** A sketch is 12 KB, 24 KB as text: a statement with 50 stays below 1.5 MB, and below every packet limit. */
const HOURS_PER_STATEMENT = 50;
/** Below the statement's deadline, so that the server's answer tells why. */
const MIGRATION_LOCK_WAIT_S = 8;
/** MySQL refuses a longer one. */
const MAX_LOCK_NAME_CHARS = 64;
const CLOSE_GRACE_MS = 2_000;

const MIGRATIONS = [migration(1, "tables", tables)];

const CREATE_BOOKKEEPING = `
  CREATE TABLE IF NOT EXISTS schema_migrations (
    version INT UNSIGNED NOT NULL,
    name VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    applied_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (version)
  ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin`;

interface WriterRow {
  readonly id: number;
  readonly seq: number;
  readonly sealed: number;
}

interface HourRow {
  readonly clicks: number;
  readonly impressions: number;
  readonly users_sketch: Buffer;
}

export function mysqlColdStore(options: MysqlColdStoreOptions): ColdStore {
  return new MysqlColdStore(options);
}

class MysqlColdStore implements ColdStore {
  readonly description: string;
  readonly #database: string;
  readonly #now: () => number;
  readonly #rowsPerInsert: number;
  readonly #flushLink: MysqlLinkOptions;
  readonly #flushes: MysqlPool;
  readonly #reads: MysqlPool;
  #isOpen = false;
  #partitionsCheckedAt = Number.NEGATIVE_INFINITY;
  #maintenance: Promise<void> = Promise.resolve();

  constructor(options: MysqlColdStoreOptions) {
    const {
      url,
      flushTimeoutMs = DEFAULT_FLUSH_TIMEOUT_MS,
      readTimeoutMs = DEFAULT_READ_TIMEOUT_MS,
    } = options;
    const target = parseTarget(url);
    this.#database = target.database;
    this.description = `MySQL at ${target.host}, database ${target.database}`;
    this.#now = options.now;
    this.#rowsPerInsert = options.rowsPerInsert ?? DEFAULT_ROWS_PER_INSERT;
    this.#flushLink = { url, connectTimeoutMs: flushTimeoutMs, statementTimeoutMs: flushTimeoutMs };
    this.#flushes = new MysqlPool(this.#flushLink, FLUSH_SESSIONS);
    const readLink = { url, connectTimeoutMs: readTimeoutMs, statementTimeoutMs: readTimeoutMs };
    this.#reads = new MysqlPool(readLink, READ_SESSIONS);
  }

  async open(): Promise<void> {
    if (this.#isOpen) return;
    await this.#attempt("connect and migrate", () =>
      withOwnSession(this.#flushLink, async (session) => {
        await this.#lockMigrations(session);
        await migrate(session);
      }),
    );
    this.#isOpen = true;
    await this.#maintainPartitions();
  }

  /** The lock is the session's, and is given up with it. */
  async #lockMigrations(session: MysqlSession): Promise<void> {
    const name = `hourglass.${this.#database}`.slice(0, MAX_LOCK_NAME_CHARS);
    const query = "SELECT GET_LOCK(?, ?) AS got";
    const [answer] = await session.rows<{ got: number | null }>(query, [name, MIGRATION_LOCK_WAIT_S]);
    if (answer?.got === 1) return;
    throw new Error(`another instance holds the lock '${name}' for more than ${MIGRATION_LOCK_WAIT_S} s`);
  }

  async flush(writer: string, batches: readonly JournaledBatch[]): Promise<number> {
    const [first, last] = [batches.at(0), batches.at(-1)];
    if (first === undefined || last === undefined) return 0;
    const what = `flush batches ${first.seq} to ${last.seq} of writer ${writer}`;
    const stored = await this.#attempt(what, () =>
      this.#flushes.use((session) => this.#store(session, writer, batches)),
    );
    void this.#maintainPartitions();
    return stored;
  }

  async #store(session: MysqlSession, writer: string, batches: readonly JournaledBatch[]): Promise<number> {
    await session.run("START TRANSACTION");
    const { id, seq, sealed } = await lockOrCreateWriter(session, writer);
    const fresh = batches.filter((batch) => batch.seq > seq);
    const last = fresh.at(-1);
    if (last === undefined || sealed === 1) {
      await session.run("ROLLBACK");
      if (last !== undefined) throw new WriterSealedError(`writer ${writer} is sealed at batch ${seq}`);
      return 0;
    }
    for (const rows of eventRows(id, fresh, this.#rowsPerInsert)) {
      await session.run(`INSERT INTO events (${EVENT_COLUMNS}) VALUES ?`, [rows]);
    }
    await addToHours(session, hourAdditions(fresh));
    const eventCount = countEvents(fresh);
    const move = "UPDATE writers SET seq = ?, events = events + ? WHERE id = ?";
    await session.run(move, [last.seq, eventCount, id]);
    await session.run("COMMIT");
    return eventCount;
  }

  /** Never throws: `pmax` takes what has no partition of its own, and there is time until that comes. */
  #maintainPartitions(): Promise<void> {
    const now = this.#now();
    if (now - this.#partitionsCheckedAt < HOUR_MS) return this.#maintenance;
    this.#partitionsCheckedAt = now;
    const made = withOwnSession(this.#flushLink, (session) => ensurePartitions(session, now));
    this.#maintenance = made.catch(() => {});
    return this.#maintenance;
  }

  async watermark(writer: string): Promise<number> {
    return await this.#attempt(`read the watermark of writer ${writer}`, () =>
      this.#flushes.use(async (session) => {
        await session.run("START TRANSACTION");
        const row = await lockWriter(session, writer);
        await session.run("ROLLBACK");
        return row?.seq ?? 0;
      }),
    );
  }

  async seal(writer: string): Promise<void> {
    await this.#attempt(`seal writer ${writer}`, () =>
      this.#flushes.use(async (session) => {
        await session.run("START TRANSACTION");
        const { id } = await lockOrCreateWriter(session, writer);
        await session.run("UPDATE writers SET sealed = 1 WHERE id = ?", [id]);
        await session.run("COMMIT");
      }),
    );
  }

  async read({ stream, hour }: HourKey): Promise<ColdHour | undefined> {
    const query = "SELECT clicks, impressions, users_sketch FROM hourly WHERE hour = ? AND stream = ?";
    return await this.#attempt(`read hour ${hour} of stream ${stream}`, async () => {
      const [row] = await this.#reads.use((session) => session.rows<HourRow>(query, [hour, stream]));
      if (row === undefined) return undefined;
      return { clicks: row.clicks, impressions: row.impressions, sketch: Sketch.decode(row.users_sketch) };
    });
  }

  async newestHour(): Promise<number | undefined> {
    const query = "SELECT MAX(hour) AS newest FROM hourly";
    return await this.#attempt("read the newest hour", async () => {
      const [row] = await this.#reads.use((session) => session.rows<{ newest: number | null }>(query));
      return row?.newest ?? undefined;
    });
  }

  async close(): Promise<void> {
    await Promise.all([this.#flushes.close(CLOSE_GRACE_MS), this.#reads.close(CLOSE_GRACE_MS)]);
  }

  async #attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof WriterSealedError) throw error;
      const message = `${this.description} could not ${what}: ${errorText(error)}`;
      throw new ColdUnavailableError(message, { cause: error });
    }
  }
}

/** Nothing of the URL is quoted on a failure: it holds the password. */
function parseTarget(url: string): { host: string; database: string } {
  const parsed = URL.parse(url);
  const database = decodeURIComponent(parsed?.pathname.slice(1) ?? "");
  if (parsed === null || parsed.hostname === "" || database === "") {
    throw new Error("the MySQL URL has to be of the form mysql://user:password@host:port/database");
  }
  return { host: parsed.host, database };
}

async function migrate(session: MysqlSession): Promise<void> {
  await session.run(CREATE_BOOKKEEPING);
  const applied = await session.rows<{ version: number }>("SELECT version FROM schema_migrations");
  const versions = applied.map(({ version }) => version);
  for (const { version, name, statements } of pendingMigrations(MIGRATIONS, versions)) {
    for (const statement of statements) await session.run(statement);
    await session.run("INSERT INTO schema_migrations (version, name) VALUES (?, ?)", [version, name]);
  }
}

async function lockWriter(session: MysqlSession, writer: string): Promise<WriterRow | undefined> {
  const query = "SELECT id, seq, sealed FROM writers WHERE writer = ? FOR UPDATE";
  return (await session.rows<WriterRow>(query, [writer]))[0];
}

async function lockOrCreateWriter(session: MysqlSession, writer: string): Promise<WriterRow> {
  return (await lockWriter(session, writer)) ?? (await createWriter(session, writer));
}

/**
 * Only for a writer that has no row yet: on one that has, the upsert would use up an id at every flush. If
 * another flush creates the same row, this waits for it, and then reads what it left.
 */
async function createWriter(session: MysqlSession, writer: string): Promise<WriterRow> {
  const upsert = "INSERT INTO writers (writer, seq) VALUES (?, 0) ON DUPLICATE KEY UPDATE seq = seq";
  await session.run(upsert, [writer]);
  const row = await lockWriter(session, writer);
  if (row === undefined) throw new Error(`writer ${writer} has no row just after it was written`);
  return row;
}

async function addToHours(session: MysqlSession, additions: readonly HourAddition[]): Promise<void> {
  for (let i = 0; i < additions.length; i += HOURS_PER_STATEMENT) {
    const piece = additions.slice(i, i + HOURS_PER_STATEMENT);
    await addCounts(session, piece);
    await mergeSketches(session, piece);
  }
}

const HOURLY_COLUMNS = "hour, stream, clicks, impressions, unique_users, users_sketch";

/** Creates the rows that are missing, and leaves all of them locked. */
async function addCounts(session: MysqlSession, additions: readonly HourAddition[]): Promise<void> {
  const noSketch = Buffer.alloc(0);
  const rows = additions.map(({ hour, stream, clicks, impressions }) => {
    return [hour, stream, clicks, impressions, 0, noSketch];
  });
  const upsert = `INSERT INTO hourly (${HOURLY_COLUMNS}) VALUES ? ON DUPLICATE KEY UPDATE
    clicks = clicks + VALUES(clicks), impressions = impressions + VALUES(impressions)`;
  await session.run(upsert, [rows]);
}

async function mergeSketches(session: MysqlSession, additions: readonly HourAddition[]): Promise<void> {
  const rows: (number | string | Buffer)[][] = [];
  for (const addition of additions) {
    const { hour, stream } = addition;
    const sketch = mergedSketch(await readLockedSketch(session, addition), addition);
    rows.push([hour, stream, 0, 0, sketch.count(), sketch.encode()]);
  }
  const upsert = `INSERT INTO hourly (${HOURLY_COLUMNS}) VALUES ? ON DUPLICATE KEY UPDATE
    unique_users = VALUES(unique_users), users_sketch = VALUES(users_sketch)`;
  await session.run(upsert, [rows]);
}

/**
 * One row a statement: only a lookup by the whole key is sure to lock that row alone. A range over several
 * may be answered by a scan, which waits for rows of other flushes and deadlocks with them.
 */
async function readLockedSketch(session: MysqlSession, { hour, stream }: HourKey): Promise<Uint8Array> {
  const query = "SELECT users_sketch FROM hourly WHERE hour = ? AND stream = ? FOR UPDATE";
  const [row] = await session.rows<{ users_sketch: Buffer }>(query, [hour, stream]);
  if (row === undefined)
    throw new Error(`hour ${hour} of stream ${stream} has no row just after it was written`);
  return row.users_sketch;
}

/**
 * The cold store in MySQL 8.4 or MariaDB 10.11: every statement here is accepted by both.
 *
 * Invariant: a flush is one transaction, which begins by locking the writer's row. Whoever flushes for the
 * same writer (a retry after a lost answer, an adopter of its journal) waits there until the outcome of the
 * one before is settled, and then sees it in the watermark.
 */
import type { ApiKey } from "../../domain/api-key.ts";
import { countEvents, type JournaledBatch } from "../../domain/batch.ts";
import { HOUR_MS, type HourKey } from "../../domain/event.ts";
import type { HourRange } from "../../domain/hour-range.ts";
import type { ErasedCounts, Kept } from "../../domain/retention-bounds.ts";
import { errorText } from "../../runtime/deadline.ts";
import { hourAdditions, rowPieces } from "../aggregate.ts";
import {
  type ColdHour,
  type ColdStore,
  ColdUnavailableError,
  type DeadLetter,
  type ErasedHour,
  flushName,
  type HourAudit,
  type HourSize,
  type PastReads,
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
import { VisitorError, visitorsOf } from "../row-visitor.ts";
import { type Migration, migration, pendingMigrations } from "../sql/migrations.ts";
import { addApiKey, listApiKeys, revokeApiKey } from "./api-keys.ts";
import { auditHour, countStoredEvents, listHourKeys, listRows, rebuildHour } from "./audit.ts";
import {
  countDeadLetters,
  dropDeadLetter,
  insertRows,
  listDeadLetters,
  type RefusedRow,
  replayDeadLetter,
  setAside,
} from "./dead-letters.ts";
import {
  countUserDeadLetters,
  countUserRows,
  eraseUserDeadLetters,
  eraseUserRows,
  hourSizes,
  listErased,
  nextHourWithRows,
} from "./erasure.ts";
import { addToHours, listStreams, readHour, readNewestHour } from "./hours.ts";
import {
  isAlteredSinceSnapshot,
  type MysqlLinkOptions,
  MysqlPool,
  type MysqlSession,
  type MysqlTls,
  withOwnSession,
} from "./link.ts";
import tables from "./migrations/0001-tables.sql" with { type: "text" };
import { ensurePartitions } from "./partitions.ts";
import { dropPoison, insertPoison, listPoison } from "./poison.ts";
import { readRange, readUsers } from "./ranges.ts";
import { MysqlReplica, type PastRead } from "./replica.ts";
import { readKept, sweep } from "./retention.ts";
import { fixShardCount, readShardCount } from "./shards.ts";

export interface MysqlColdStoreOptions {
  /** mysql://user:password@host:port/database */
  readonly url: string;
  /** Of a replica of it, for reads of the past. */
  readonly readUrl?: string | undefined;
  readonly tls?: MysqlTls | undefined;
  readonly now: () => number;
  /** Whose flushes come at the same time; 1 if it is left out. */
  readonly shards?: number | undefined;
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

/** A table may have many streams. But a server that has fallen silent is to be noticed before clients give up. */
const RANGE_TIMEOUT_MS = 10_000;
/** A scan of all rows of a large table. */
const AUDIT_TIMEOUT_MS = 600_000;

/** One for a shard's flusher, as far as these, and one for the adoption of dead writers' journals. */
const FLUSHERS_MAX = 4;
const READ_SESSIONS = 4;
/** Of their own: four long ranges would keep every single hour waiting. */
const RANGE_SESSIONS = 2;
/** For the scan of a whole table hour by hour: with a connection for each hour it would take twice as long. */
const SCAN_SESSIONS = 1;
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

interface NamedWriter {
  readonly name: string;
  /** Of a new one: it stays in the shard that it began in. */
  readonly shard: number;
}

interface WriterRow {
  readonly id: number;
  readonly seq: number;
  readonly sealed: number;
  readonly shard: number;
}

export function mysqlColdStore(options: MysqlColdStoreOptions): ColdStore {
  return new MysqlColdStore(options);
}

class MysqlColdStore implements ColdStore {
  readonly name = "MySQL";
  readonly description: string;
  readonly #database: string;
  readonly #now: () => number;
  readonly #rowsPerInsert: number;
  readonly #flushLink: MysqlLinkOptions;
  readonly #auditLink: MysqlLinkOptions;
  readonly #flushes: MysqlPool;
  readonly #reads: MysqlPool;
  readonly #ranges: MysqlPool;
  readonly #scans: MysqlPool;
  readonly #replica: MysqlReplica | undefined;
  #isOpen = false;
  #partitionsCheckedAt = Number.NEGATIVE_INFINITY;
  #maintenance: Promise<void> = Promise.resolve();

  constructor(options: MysqlColdStoreOptions) {
    const {
      url,
      readUrl,
      tls,
      flushTimeoutMs = DEFAULT_FLUSH_TIMEOUT_MS,
      readTimeoutMs = DEFAULT_READ_TIMEOUT_MS,
    } = options;
    const target = parseTarget(url);
    this.#database = target.database;
    this.description = `MySQL at ${target.host}, database ${target.database}`;
    this.#now = options.now;
    this.#rowsPerInsert = options.rowsPerInsert ?? DEFAULT_ROWS_PER_INSERT;
    this.#flushLink = { url, tls, connectTimeoutMs: flushTimeoutMs, statementTimeoutMs: flushTimeoutMs };
    this.#auditLink = { url, tls, connectTimeoutMs: flushTimeoutMs, statementTimeoutMs: AUDIT_TIMEOUT_MS };
    this.#flushes = new MysqlPool(this.#flushLink, Math.min(options.shards ?? 1, FLUSHERS_MAX) + 1);
    const readLink = { url, tls, connectTimeoutMs: readTimeoutMs, statementTimeoutMs: readTimeoutMs };
    this.#reads = new MysqlPool(readLink, READ_SESSIONS);
    const rangeLink = { ...readLink, statementTimeoutMs: RANGE_TIMEOUT_MS };
    this.#ranges = new MysqlPool(rangeLink, RANGE_SESSIONS);
    this.#scans = new MysqlPool(this.#auditLink, SCAN_SESSIONS);
    if (readUrl === undefined) return;
    const scanLink = { ...readLink, statementTimeoutMs: AUDIT_TIMEOUT_MS };
    const links = { range: { ...rangeLink, url: readUrl }, scan: { ...scanLink, url: readUrl } };
    this.#replica = new MysqlReplica({ links, primary: this.#reads });
  }

  get pastReads(): PastReads | undefined {
    return this.#replica?.reads;
  }

  async open(): Promise<void> {
    if (this.#isOpen) return;
    await this.#attempt("connect and migrate", async () => {
      const pending = await withOwnSession(this.#flushLink, pendingIn);
      if (pending.length > 0) await this.#migrate();
    });
    this.#isOpen = true;
    await this.#maintainPartitions();
  }

  /** A table that is large is made anew by one statement: it may take minutes. */
  async #migrate(): Promise<void> {
    await withOwnSession(this.#auditLink, async (session) => {
      await this.#lockMigrations(session);
      await migrate(session);
    });
  }

  /** The lock is the session's, and is given up with it. */
  async #lockMigrations(session: MysqlSession): Promise<void> {
    const name = this.#lockName("hourglass");
    const query = "SELECT GET_LOCK(?, ?) AS got";
    const [answer] = await session.rows<{ got: number | null }>(query, [name, MIGRATION_LOCK_WAIT_S]);
    if (answer?.got === 1) return;
    throw new Error(`another instance holds the lock '${name}' for more than ${MIGRATION_LOCK_WAIT_S} s`);
  }

  /** Of all instances on this database. */
  #lockName(purpose: string): string {
    return `${purpose}.${this.#database}`.slice(0, MAX_LOCK_NAME_CHARS);
  }

  async shardCount(): Promise<number | undefined> {
    return await this.#attempt("tell its number of shards", () => this.#reads.use(readShardCount));
  }

  async fixShardCount(count: number): Promise<number> {
    return await this.#attempt("tell its number of shards", () =>
      this.#reads.use((session) => fixShardCount(session, count)),
    );
  }

  async flush(writer: string, batches: readonly JournaledBatch[], shard = 0): Promise<number> {
    if (batches.length === 0) return 0;
    const what = flushName(writer, batches);
    const stored = await this.#attempt(what, () =>
      this.#flushes.use((session) => this.#store(session, { name: writer, shard }, batches)),
    );
    void this.#maintainPartitions();
    return stored;
  }

  async #store(
    session: MysqlSession,
    writer: NamedWriter,
    batches: readonly JournaledBatch[],
  ): Promise<number> {
    await session.run("START TRANSACTION");
    const { id, seq, sealed, shard } = await lockOrCreateWriter(session, writer);
    const fresh = batches.filter((batch) => batch.seq > seq);
    const last = fresh.at(-1);
    if (last === undefined || sealed === 1) {
      await session.run("ROLLBACK");
      if (last !== undefined) throw new WriterSealedError(`writer ${writer.name} is sealed at batch ${seq}`);
      return 0;
    }
    const refused: RefusedRow[] = [];
    for (const piece of rowPieces(id, fresh, this.#rowsPerInsert)) {
      refused.push(...(await insertRows(session, piece)));
    }
    await setAside(session, refused);
    const additions = hourAdditions(
      fresh,
      refused.map(({ row }) => row),
    );
    await addToHours(session, shard, additions);
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

  async seal(writer: string, shard = 0): Promise<void> {
    await this.#attempt(`seal writer ${writer}`, () =>
      this.#flushes.use(async (session) => {
        await session.run("START TRANSACTION");
        const { id } = await lockOrCreateWriter(session, { name: writer, shard });
        await session.run("UPDATE writers SET sealed = 1 WHERE id = ?", [id]);
        await session.run("COMMIT");
      }),
    );
  }

  async read(key: HourKey, shards?: readonly number[]): Promise<ColdHour | undefined> {
    const what = `read hour ${key.hour} of stream ${key.stream}`;
    return await this.#attempt(what, () => this.#reads.use((session) => readHour(session, key, shards)));
  }

  async readRange(range: HourRange, visit: VisitPart): Promise<void> {
    const visitors = visitorsOf(visit);
    await this.#readPast("range", "read a range of hours", (session) =>
      readRange(session, range, visitors()),
    );
  }

  async readUsers(range: UsersRange, visit: (row: UserRow) => void): Promise<void> {
    const visitors = visitorsOf(visit);
    await this.#readPast("range", "read users", (session) => readUsers(session, range, visitors()));
  }

  #readPast<T>(kind: PastRead, what: string, work: (session: MysqlSession) => Promise<T>): Promise<T> {
    const onPrimary = () => {
      return kind === "range" ? this.#ranges.use(work) : withOwnSession(this.#auditLink, work);
    };
    return this.#attempt(what, () => this.#replica?.read(kind, work, onPrimary) ?? onPrimary());
  }

  async streams(limit: number): Promise<readonly string[]> {
    return await this.#attempt("list streams", () =>
      this.#reads.use((session) => listStreams(session, limit)),
    );
  }

  async newestHour(): Promise<number | undefined> {
    return await this.#attempt("read the newest hour", () => this.#reads.use(readNewestHour));
  }

  async storedEvents(writers: readonly string[]): Promise<StoredEvents> {
    return await this.#attempt("count what is stored", () =>
      this.#reads.use((session) => countStoredEvents(session, writers)),
    );
  }

  async hourKeys(): Promise<readonly HourKey[]> {
    return await this.#readPast("scan", "list hours", listHourKeys);
  }

  async rows(key: HourKey, after: RowKey | undefined, limit: number): Promise<RowPage> {
    return await this.#readPast("scan", `read rows of hour ${key.hour} of stream ${key.stream}`, (session) =>
      listRows(session, key, after, limit),
    );
  }

  async audit(key: HourKey, shard = 0): Promise<HourAudit> {
    return await this.#attempt(`audit hour ${key.hour} of stream ${key.stream}`, async () => {
      const audit = () => withOwnSession(this.#auditLink, (session) => auditHour(session, key, shard));
      try {
        return await audit();
      } catch (error) {
        // A partition was made or dropped at just that moment.
        if (!isAlteredSinceSnapshot(error)) throw error;
        return await audit();
      }
    });
  }

  async rebuild(key: HourKey, shard = 0): Promise<boolean> {
    return await this.#alone(`rebuild hour ${key.hour} of stream ${key.stream}`, (session) =>
      rebuildHour(session, key, shard),
    );
  }

  async kept(): Promise<Kept> {
    return await this.#attempt("read from when on rows are kept", () => this.#reads.use(readKept));
  }

  async sweep(kept: Kept, now: number): Promise<Swept> {
    return await this.#alone("drop what is not kept", (session) =>
      sweep(session, this.#lockName("hourglass-retention"), kept, now),
    );
  }

  async nextHourWithRows(hour: number): Promise<number | undefined> {
    return await this.#scan("find the next hour", (session) => nextHourWithRows(session, hour));
  }

  async hourSizes(): Promise<readonly HourSize[]> {
    return await this.#scan("list the sizes of hours", hourSizes);
  }

  async countUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts> {
    return await this.#scan(`count a user's rows of hour ${hour}`, (session) =>
      countUserRows(session, selection, hour),
    );
  }

  async eraseUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts> {
    return await this.#scan(`erase a user's rows of hour ${hour}`, (session) =>
      eraseUserRows(session, selection, hour),
    );
  }

  async countUserDeadLetters(selection: UserSelection): Promise<number> {
    return await this.#scan("count a user's dead letters", (session) =>
      countUserDeadLetters(session, selection),
    );
  }

  async eraseUserDeadLetters(selection: UserSelection): Promise<readonly HourKey[]> {
    return await this.#scan("erase a user's dead letters", (session) =>
      eraseUserDeadLetters(session, selection),
    );
  }

  async erasedRows(range: UsersRange): Promise<readonly ErasedHour[]> {
    return await this.#attempt("list what was erased", () =>
      this.#reads.use((session) => listErased(session, range)),
    );
  }

  #scan<T>(what: string, work: (session: MysqlSession) => Promise<T>): Promise<T> {
    return this.#attempt(what, () => this.#scans.use(work));
  }

  async deadLetterCount(): Promise<number> {
    return await this.#attempt("count dead letters", () =>
      this.#reads.use((session) => countDeadLetters(session)),
    );
  }

  async deadLetters(afterNumber: number, limit: number): Promise<readonly DeadLetter[]> {
    return await this.#alone("list dead letters", (session) => listDeadLetters(session, afterNumber, limit));
  }

  async replayDeadLetter(number: number): Promise<ReplayResult> {
    return await this.#alone(`replay dead letter ${number}`, (session) => replayDeadLetter(session, number));
  }

  async dropDeadLetter(number: number): Promise<boolean> {
    return await this.#alone(`drop dead letter ${number}`, (session) => dropDeadLetter(session, number));
  }

  async apiKeys(): Promise<readonly ApiKey[]> {
    return await this.#attempt("list API keys", () => this.#reads.use((session) => listApiKeys(session)));
  }

  async addApiKey(key: ApiKey): Promise<void> {
    await this.#attempt("add an API key", () => this.#reads.use((session) => addApiKey(session, key)));
  }

  async revokeApiKey(id: string, at: number): Promise<boolean> {
    return await this.#attempt("revoke an API key", () =>
      this.#reads.use((session) => revokeApiKey(session, id, at)),
    );
  }

  async setAsidePoison(poison: readonly Poison[]): Promise<void> {
    if (poison.length === 0) return;
    await this.#attempt("set poison aside", () =>
      withOwnSession(this.#flushLink, (session) => insertPoison(session, poison)),
    );
  }

  async poison(afterNumber: number, limit: number): Promise<readonly StoredPoison[]> {
    return await this.#alone("list poison", (session) => listPoison(session, afterNumber, limit));
  }

  async dropPoison(number: number): Promise<boolean> {
    return await this.#alone(`drop poison ${number}`, (session) => dropPoison(session, number));
  }

  /** Work that may take long, and must not keep a session from reads or flushes. */
  #alone<T>(what: string, work: (session: MysqlSession) => Promise<T>): Promise<T> {
    return this.#attempt(what, () => withOwnSession(this.#auditLink, work));
  }

  async close(): Promise<void> {
    const pools = [this.#flushes, this.#reads, this.#ranges, this.#scans];
    await Promise.all([...pools, this.#replica].map((each) => each?.close(CLOSE_GRACE_MS)));
  }

  async #attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof WriterSealedError) throw error;
      if (error instanceof VisitorError) throw error.cause;
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

async function pendingIn(session: MysqlSession): Promise<readonly Migration[]> {
  await session.run(CREATE_BOOKKEEPING);
  const applied = await session.rows<{ version: number }>("SELECT version FROM schema_migrations");
  return pendingMigrations(
    MIGRATIONS,
    applied.map(({ version }) => version),
  );
}

async function migrate(session: MysqlSession): Promise<void> {
  for (const { version, name, statements } of await pendingIn(session)) {
    for (const statement of statements) await session.run(statement);
    await session.run("INSERT INTO schema_migrations (version, name) VALUES (?, ?)", [version, name]);
  }
}

async function lockWriter(session: MysqlSession, writer: string): Promise<WriterRow | undefined> {
  const query = "SELECT id, seq, sealed, shard FROM writers WHERE writer = ? FOR UPDATE";
  return (await session.rows<WriterRow>(query, [writer]))[0];
}

async function lockOrCreateWriter(session: MysqlSession, writer: NamedWriter): Promise<WriterRow> {
  return (await lockWriter(session, writer.name)) ?? (await createWriter(session, writer));
}

/**
 * Only for a writer that has no row yet: on one that has, the upsert would use up an id at every flush. If
 * another flush creates the same row, this waits for it, and then reads what it left.
 */
async function createWriter(session: MysqlSession, { name, shard }: NamedWriter): Promise<WriterRow> {
  const upsert = `INSERT INTO writers (writer, seq, shard) VALUES (?, 0, ?)
    ON DUPLICATE KEY UPDATE seq = seq`;
  await session.run(upsert, [name, shard]);
  const row = await lockWriter(session, name);
  if (row === undefined) throw new Error(`writer ${name} has no row just after it was written`);
  return row;
}

/**
 * A connection to MySQL or MariaDB that answers or fails within a deadline, and pools of such connections.
 *
 * Invariants:
 * - A session is used only after its set-up succeeded, so no statement depends on the server's default mode, time zone,
 *   character set or isolation level.
 * - A session on which anything failed is destroyed, never reused. Whatever it holds (a transaction, a lock, an answer
 *   in transit) ends with it.
 */
import { connect, type Socket } from "node:net";
import { type Connection, createConnection, escape as escapeText, type QueryValues } from "mysql2";
import { withDeadline, withStallDeadline } from "../../../runtime/clock.ts";
import { errorText } from "../../../runtime/error-text.ts";
import { Slots } from "../../../runtime/slots.ts";

export interface MysqlTls {
  /** The CA certificates (PEM) for the server's certificate; undefined: the runtime's. */
  readonly ca: string | undefined;
  /** Accepts a certificate for another host: MySQL's own certificates, and those of clouds, name no host. */
  readonly isForAnyHost?: boolean | undefined;
}

export interface MysqlLinkOptions {
  readonly url: string;
  /** Undefined: unencrypted. */
  readonly tls?: MysqlTls | undefined;
  /** Covers the handshake, the set-up, and the wait for a free session. */
  readonly connectTimeoutMs: number;
  readonly statementTimeoutMs: number;
}

/**
 * How long a statement waits for a lock. Shorter than a flush's deadline: a statement that the client gave up would
 * keep waiting on the server, by default for a year, and each retry would add one.
 */
const LOCK_WAIT_S = 5;
/**
 * The server ends a session that is silent for this long, which releases the locks of a client whose host vanished
 * without closing its socket. The default is 8 hours.
 */
const SILENT_SESSION_S = 60;
const GOODBYE_TIMEOUT_MS = 500;
const MAX_QUOTED_SQL_CHARS = 80;
/** Replaces idle sessions well before the server ends them, so that none is taken just as it ends. */
const MAX_IDLE_MS = 30_000;
const MAX_WAITING = 256;

/**
 * - sql_mode: strict, so that values are refused, not truncated; without NO_BACKSLASH_ESCAPES, since mysql2 escapes
 *   values with backslashes.
 * - READ COMMITTED: reads that decide anything take locks anyway, and without gap locks two flushes into the same new
 *   hour wait for each other instead of deadlocking. Set by statement, because MySQL and MariaDB name the variable
 *   differently.
 */
const SESSION_SETUP = [
  `SET NAMES utf8mb4 COLLATE utf8mb4_bin, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',
     time_zone = '+00:00', autocommit = 1, innodb_lock_wait_timeout = ${LOCK_WAIT_S},
     lock_wait_timeout = ${LOCK_WAIT_S}, wait_timeout = ${SILENT_SESSION_S}`,
  "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

interface StreamRequest {
  readonly config: { readonly host: string; readonly port: number; readonly socketPath?: string };
}

/** mysql2's own destroy() only half-closes its socket and waits for the server, so the socket is made here. */
function openSocket({ config }: StreamRequest): Socket {
  if (config.socketPath !== undefined) return connect({ path: config.socketPath });
  return connect({ host: config.host, port: config.port, noDelay: true, keepAlive: true });
}

/** Refuses a server without TLS or with an invalid certificate. */
function sslOptions({ ca, isForAnyHost = false }: MysqlTls) {
  return { rejectUnauthorized: true, verifyIdentity: !isForAnyHost, ...(ca !== undefined && { ca }) };
}

interface WithinOptions {
  /** Recognizes errors that leave the session unchanged. */
  readonly isHarmless?: (error: unknown) => boolean;
  /** Changes whenever something arrives. */
  readonly progress?: () => number;
}

/** The longest statement with many rows: a server may accept packets of no more than 1 MB. */
export const STATEMENT_MAX_BYTES = 1_000_000;

/** Matches all but printable characters other than quotes and backslashes. */
const NEEDS_ESCAPES = /[^\x20\x21\x23-\x26\x28-\x5b\x5d-\uffff]/;

/** A string literal, safe in the mode and character set of every session. */
export function quote(text: string): string {
  return NEEDS_ESCAPES.test(text) ? escapeText(text) : `'${text}'`;
}

/** An SQL expression for ISO 8601 with milliseconds (%f gives microseconds). */
export function isoTime(column: string): string {
  return `CONCAT(LEFT(DATE_FORMAT(${column}, '%Y-%m-%dT%H:%i:%s.%f'), 23), 'Z')`;
}

/** The users' columns are binary. */
export function userValue(text: string): Buffer {
  return Buffer.from(text);
}

export class MysqlSession {
  readonly #connectTimeoutMs: number;
  readonly #statementTimeoutMs: number;
  readonly #connection: Connection;
  #socket: Socket | undefined;
  #isReady = false;
  #isUsable = true;

  constructor({ url, tls, connectTimeoutMs, statementTimeoutMs }: MysqlLinkOptions) {
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#statementTimeoutMs = statementTimeoutMs;
    this.#connection = createConnection({
      uri: url,
      charset: "utf8mb4_bin",
      // Forbids the server to request files of this machine.
      flags: ["-LOCAL_FILES"],
      connectTimeout: connectTimeoutMs,
      ...(tls !== undefined && { ssl: sslOptions(tls) }),
      stream: (request: StreamRequest) => {
        this.#socket = openSocket(request);
        return this.#socket;
      },
    });
    // Without a listener, an error while no statement is in flight would end the process.
    this.#connection.on("error", () => this.destroy());
    this.#connection.on("end", () => this.destroy());
  }

  /** Connects and sets up the session, unless done before. */
  async ready(): Promise<this> {
    if (this.#isReady) return this;
    for (const statement of SESSION_SETUP) await this.#send(statement, [], this.#connectTimeoutMs);
    this.#isReady = true;
    return this;
  }

  get isUsable(): boolean {
    return this.#isUsable;
  }

  /** The rows of a SELECT. `Row` is not checked: the caller wrote the statement. */
  async rows<Row>(sql: string, values: QueryValues[] = []): Promise<Row[]> {
    return (await this.#send(sql, values, this.#statementTimeoutMs)) as Row[];
  }

  /**
   * Like rows(), but passes rows to `visit` as they arrive. The deadline applies to each silence, not to the whole. An
   * exception of `visit` ends it.
   */
  async each<Row>(sql: string, values: QueryValues[], visit: (row: Row) => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const query = this.#connection.query(sql, placed(values));
    let rowCount = 0;
    query.on("error", reject);
    query.on("end", resolve);
    query.on("result", (row) => {
      rowCount += 1;
      try {
        // Rows in flight still arrive after destroy().
        if (this.#isUsable) visit(row as Row);
      } catch (error) {
        this.destroy();
        reject(error);
      }
    });
    // Without a callback, a lost connection is reported only on the connection.
    this.#connection.on("error", reject);
    try {
      await this.#within(promise, sql, this.#statementTimeoutMs, { progress: () => rowCount });
    } finally {
      this.#connection.off("error", reject);
    }
  }

  async run(sql: string, values: QueryValues[] = []): Promise<void> {
    await this.#send(sql, values, this.#statementTimeoutMs);
  }

  /** Like run(), for a DELETE or UPDATE: returns how many rows matched. */
  async matched(sql: string, values: QueryValues[] = []): Promise<number> {
    const answer = (await this.#send(sql, values, this.#statementTimeoutMs)) as { affectedRows: number };
    return answer.affectedRows;
  }

  /**
   * Like run(), for a statement whose data the server may refuse. Returns the server's reason then; the transaction
   * continues as if the statement had not been sent.
   */
  async tryRun(sql: string): Promise<string | undefined> {
    try {
      await this.#send(sql, [], this.#statementTimeoutMs, isRefusedData);
      return undefined;
    } catch (error) {
      if (isRefusedData(error)) return errorText(error);
      throw error;
    }
  }

  /** `isHarmless`: recognizes errors that leave the session unchanged. */
  async #send(
    sql: string,
    values: QueryValues[],
    timeoutMs: number,
    isHarmless: (error: unknown) => boolean = () => false,
  ): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    // mysql2's promises capture a stack for each statement (20 µs).
    this.#connection.query(sql, placed(values), (error, result) => {
      if (error === null) resolve(result);
      else reject(error);
    });
    return await this.#within(promise, sql, timeoutMs, { isHarmless });
  }

  async #within<T>(
    answer: Promise<T>,
    sql: string,
    timeoutMs: number,
    { isHarmless = () => false, progress = () => 0 }: WithinOptions,
  ): Promise<T> {
    try {
      return await withStallDeadline(answer, timeoutMs, progress, () => {
        const quoted = sql.replaceAll(/\s+/g, " ").slice(0, MAX_QUOTED_SQL_CHARS);
        return new Error(`no answer within ${timeoutMs} ms to: ${quoted}`);
      });
    } catch (error) {
      if (!isHarmless(error)) this.destroy();
      throw withoutStatement(error);
    }
  }

  destroy(): void {
    this.#isUsable = false;
    this.#socket?.destroy();
  }

  /** Disconnects politely, so that the server logs no broken connection. Never throws. */
  async end(): Promise<void> {
    if (this.#isUsable) {
      const goodbye = this.#connection.promise().end();
      await withDeadline(goodbye, GOODBYE_TIMEOUT_MS, () => new Error("no goodbye")).catch(() => {});
    }
    this.destroy();
  }
}

/** Runs `work` on a new session, which it does not share. */
export async function withOwnSession<T>(
  options: MysqlLinkOptions,
  work: (session: MysqlSession) => Promise<T>,
): Promise<T> {
  const session = new MysqlSession(options);
  try {
    return await work(await session.ready());
  } finally {
    await session.end();
  }
}

interface IdleSession {
  readonly session: MysqlSession;
  readonly sinceMs: number;
}

/** Lends out at most `maxSessions` sessions; at most MAX_WAITING callers wait for one. */
export class MysqlPool {
  readonly #options: MysqlLinkOptions;
  readonly #places: Slots;
  readonly #idle: IdleSession[] = [];
  readonly #working = new Map<MysqlSession, Promise<unknown>>();
  readonly #closing = new AbortController();

  constructor(options: MysqlLinkOptions, maxSessions: number) {
    this.#options = options;
    this.#places = new Slots(maxSessions, MAX_WAITING);
  }

  /** Reuses the session only if `work` succeeds, so `work` must then leave no transaction open. */
  async use<T>(work: (session: MysqlSession) => Promise<T>): Promise<T> {
    const { signal } = this.#closing;
    signal.throwIfAborted();
    const workOnAny = async () => {
      signal.throwIfAborted();
      return await this.#workOn(this.#takeIdle() ?? new MysqlSession(this.#options), work);
    };
    return await this.#places.use(workOnAny, () => this.#untilTooLate());
  }

  async #workOn<T>(session: MysqlSession, work: (session: MysqlSession) => Promise<T>): Promise<T> {
    try {
      const working = session.ready().then(work);
      this.#working.set(session, working);
      const result = await working;
      this.#idle.push({ session, sinceMs: performance.now() });
      return result;
    } catch (error) {
      session.destroy();
      throw error;
    } finally {
      this.#working.delete(session);
    }
  }

  #takeIdle(): MysqlSession | undefined {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (idle.session.isUsable && performance.now() - idle.sinceMs < MAX_IDLE_MS) return idle.session;
      void idle.session.end();
    }
    return undefined;
  }

  /** Aborts if no slot becomes free in time, or when the pool closes. */
  #untilTooLate(): AbortSignal {
    const { connectTimeoutMs } = this.#options;
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new Error(`no connection became free within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
    timer.unref();
    return AbortSignal.any([this.#closing.signal, late.signal]);
  }

  /** Gives work in progress `graceMs` to finish. Never throws. */
  async close(graceMs: number): Promise<void> {
    this.#closing.abort(new Error("this store is closed"));
    const ended = Promise.allSettled(this.#working.values());
    await withDeadline(ended, graceMs, () => new Error("still at work")).catch(() => {});
    for (const session of this.#working.keys()) session.destroy();
    await Promise.all(this.#idle.splice(0).map(({ session }) => session.end()));
  }
}

/** Without values, question marks in the statement are not placeholders. */
function placed(values: QueryValues[]): QueryValues[] | undefined {
  return values.length === 0 ? undefined : values;
}

/** Data exceptions, violated constraints, and errors raised by triggers. */
const REFUSED_DATA_STATES = /^(22|23|45)/;
/**
 * From the general state HY000: text invalid in the character set, no default, no such partition, a CHECK. From 01000:
 * data truncated.
 */
const REFUSED_DATA_NUMBERS = new Set([1265, 1364, 1366, 1526, 3819]);

/**
 * Whether the server refuses these values permanently. Locks, deadlocks, a full disk, and a missing table or privilege
 * are not permanent and are retried. Sources: "Server Error Message Reference" of MySQL 8.4, "Error Codes" of MariaDB.
 */
function isRefusedData(error: unknown): boolean {
  if (!(error instanceof Error) || !("sqlState" in error) || !("errno" in error)) return false;
  return REFUSED_DATA_STATES.test(String(error.sqlState)) || REFUSED_DATA_NUMBERS.has(Number(error.errno));
}

/** Access denied to a database, a command on a table or column, a global privilege, or a routine. */
const FORBIDDEN_NUMBERS = new Set([1044, 1142, 1143, 1227, 1370]);

export function isForbidden(error: unknown): boolean {
  return error instanceof Error && "errno" in error && FORBIDDEN_NUMBERS.has(Number(error.errno));
}

/** "Table definition has changed": between the start of a snapshot and the first use of the table in it. */
const ALTERED_SINCE_SNAPSHOT = 1412;

export function isAlteredSinceSnapshot(error: unknown): boolean {
  return error instanceof Error && "errno" in error && error.errno === ALTERED_SINCE_SNAPSHOT;
}

/** mysql2 attaches the whole statement to its errors: 100 KB of rows, with users, in each log line. */
function withoutStatement(error: unknown): unknown {
  if (error instanceof Error && "sql" in error) delete error.sql;
  return error;
}

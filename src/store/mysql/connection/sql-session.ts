/**
 * A connection to MySQL or MariaDB that answers or fails within a deadline.
 *
 * Invariants:
 * - A session is used only after its set-up was answered: no statement ever runs in a mode, a time zone, a
 *   character set or an isolation level that the server happened to default to.
 * - A session on which anything failed is destroyed, never used again: what it still holds open (a
 *   transaction, a lock, an answer in transit) ends with it.
 */
import { connect, type Socket } from "node:net";
import { type Connection, createConnection, escape as escapeText, type QueryValues } from "mysql2";
import { withDeadline, withStallDeadline } from "../../../runtime/deadline.ts";
import { errorText } from "../../../runtime/error-text.ts";

export interface MysqlTls {
  /** Certificates (PEM) that the server's is signed by; undefined: those that the runtime knows. */
  readonly ca: string | undefined;
  /** The certificate may name another host: MySQL's own certificates, and those of clouds, name none. */
  readonly isForAnyHost?: boolean | undefined;
}

export interface MysqlLinkOptions {
  readonly url: string;
  /** Undefined: in the clear. */
  readonly tls?: MysqlTls | undefined;
  /** Covers the handshake and the set-up, and the wait for a free session. */
  readonly connectTimeoutMs: number;
  readonly statementTimeoutMs: number;
}

/**
 * How long a statement waits for a lock of another session. Below a flush's deadline: a statement that the client has
 * given up would keep waiting at the server, by default for a year, and each retry would add one.
 */
const LOCK_WAIT_S = 5;
/**
 * The server ends a session that is silent for this long, and so releases the locks of a client whose host vanished
 * without closing its socket. The default is 8 hours.
 */
const SILENT_SESSION_S = 60;
const GOODBYE_TIMEOUT_MS = 500;
const MAX_QUOTED_SQL_CHARS = 80;

/**
 * - sql_mode: strict, so that a value is refused rather than cut; and without NO_BACKSLASH_ESCAPES, since
 *   mysql2 escapes values with backslashes.
 * - READ COMMITTED: every read that decides something takes a lock anyway, and without gap locks two flushes
 *   into the same new hour wait for each other instead of deadlocking. The statement form, because the
 *   variable has another name on MySQL than on MariaDB.
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

/** The socket is made here because mysql2's own destroy() only half-closes it, and waits for the server. */
function openSocket({ config }: StreamRequest): Socket {
  if (config.socketPath !== undefined) return connect({ path: config.socketPath });
  return connect({ host: config.host, port: config.port, noDelay: true, keepAlive: true });
}

/** A server without TLS or with an invalid certificate is refused. */
function sslOptions({ ca, isForAnyHost = false }: MysqlTls) {
  return { rejectUnauthorized: true, verifyIdentity: !isForAnyHost, ...(ca !== undefined && { ca }) };
}

interface WithinOptions {
  /** Of errors that leave the session as it was. */
  readonly isHarmless?: (error: unknown) => boolean;
  /** Changes whenever something has arrived. */
  readonly progress?: () => number;
}

/** The longest text of a statement that has many rows: a server may take packets of no more than 1 MB. */
export const STATEMENT_MAX_BYTES = 1_000_000;

/** Anything but printable characters that are no quote and no backslash. */
const NEEDS_ESCAPES = /[^\x20\x21\x23-\x26\x28-\x5b\x5d-\uffff]/;

/** A literal, for statements that are built here. Safe in the mode and character set of every session. */
export function quote(text: string): string {
  return NEEDS_ESCAPES.test(text) ? escapeText(text) : `'${text}'`;
}

/** An expression: ISO 8601 with milliseconds (%f gives microseconds). */
export function isoTime(column: string): string {
  return `CONCAT(LEFT(DATE_FORMAT(${column}, '%Y-%m-%dT%H:%i:%s.%f'), 23), 'Z')`;
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
      // The server must not be able to ask for files of this machine.
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

  /** Connects, and sets the session up, if that is not done yet. */
  async ready(): Promise<this> {
    if (this.#isReady) return this;
    for (const statement of SESSION_SETUP) await this.#send(statement, [], this.#connectTimeoutMs);
    this.#isReady = true;
    return this;
  }

  get isUsable(): boolean {
    return this.#isUsable;
  }

  /** The rows of a SELECT. The caller says what they look like, as it wrote the statement. */
  async rows<Row>(sql: string, values: QueryValues[] = []): Promise<Row[]> {
    return (await this.#send(sql, values, this.#statementTimeoutMs)) as Row[];
  }

  /**
   * Like rows(), but one after the other as they arrive: what has the time of a statement is each silence, not the
   * whole. What `visit` throws ends it.
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
        // After destroy(), rows in flight still arrive.
        if (this.#isUsable) visit(row as Row);
      } catch (error) {
        this.destroy();
        reject(error);
      }
    });
    // A lost connection is reported on the connection alone, if the statement has no callback.
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

  /** Like run(), for a DELETE or UPDATE: answers how many rows its condition matched. */
  async matched(sql: string, values: QueryValues[] = []): Promise<number> {
    const answer = (await this.#send(sql, values, this.#statementTimeoutMs)) as { affectedRows: number };
    return answer.affectedRows;
  }

  /**
   * Like run(), for a statement that the server may refuse for its data. Answers what it said then: the
   * transaction goes on as if the statement had not been sent.
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

  /** `isHarmless`: of errors that leave the session as it was. */
  async #send(
    sql: string,
    values: QueryValues[],
    timeoutMs: number,
    isHarmless: (error: unknown) => boolean = () => false,
  ): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    // Not by mysql2's own promises, which capture a stack for each statement (20 µs).
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

  /** Says goodbye, so that the server does not log a broken connection. Never throws. */
  async end(): Promise<void> {
    if (this.#isUsable) {
      const goodbye = this.#connection.promise().end();
      await withDeadline(goodbye, GOODBYE_TIMEOUT_MS, () => new Error("no goodbye")).catch(() => {});
    }
    this.destroy();
  }
}

/** Without values the statement is sent as it is: question marks in it are no places for values. */
function placed(values: QueryValues[]): QueryValues[] | undefined {
  return values.length === 0 ? undefined : values;
}

/** Data exceptions, broken constraints, and what a trigger raises. */
const REFUSED_DATA_STATES = /^(22|23|45)/;
/**
 * Of the general state HY000: a wrong text for the character set, no default, no such partition, a CHECK. And
 * 01000: data that would be cut.
 */
const REFUSED_DATA_NUMBERS = new Set([1265, 1364, 1366, 1526, 3819]);

/**
 * True if the server refuses these values permanently. Locks, deadlocks, a full disk, a missing table or right are not
 * permanent: those are retried. Sources: "Server Error Message Reference" of MySQL 8.4, "Error Codes" of MariaDB.
 */
function isRefusedData(error: unknown): boolean {
  if (!(error instanceof Error) || !("sqlState" in error) || !("errno" in error)) return false;
  return REFUSED_DATA_STATES.test(String(error.sqlState)) || REFUSED_DATA_NUMBERS.has(Number(error.errno));
}

/** "Access denied" to a database, a command on a table or a column, what takes a global right, or a routine. */
const FORBIDDEN_NUMBERS = new Set([1044, 1142, 1143, 1227, 1370]);

export function isForbidden(error: unknown): boolean {
  return error instanceof Error && "errno" in error && FORBIDDEN_NUMBERS.has(Number(error.errno));
}

/** "Table definition has changed": it was altered between the start of a snapshot and the first look at it. */
const ALTERED_SINCE_SNAPSHOT = 1412;

export function isAlteredSinceSnapshot(error: unknown): boolean {
  return error instanceof Error && "errno" in error && error.errno === ALTERED_SINCE_SNAPSHOT;
}

/** mysql2 attaches the whole statement to its errors: 100 KB of rows, with users, in each log line. */
function withoutStatement(error: unknown): unknown {
  if (error instanceof Error && "sql" in error) delete error.sql;
  return error;
}

/**
 * The cold store's MySQL or MariaDB database, with a pool for each kind of work, so that slow work never delays quick
 * work.
 * Invariant: every failure becomes a ColdUnavailableError that says what was tried, without a password.
 */
import { errorText } from "../../../runtime/error-text.ts";
import { ColdUnavailableError, type OnReplicaChange, type PastReads, WriterSealedError } from "../../cold.ts";
import { RowVisitorError } from "../../sql/row-visitor.ts";
import type { RunSql, Sql } from "../../sql/sql-runner.ts";
import { MysqlReplica, type PastRead } from "./replica.ts";
import {
  isoTime,
  type MysqlLinkOptions,
  MysqlPool,
  type MysqlSession,
  type MysqlTls,
  userValue,
  withOwnSession,
} from "./sql-session.ts";

export interface MysqlDatabaseOptions {
  readonly url: string;
  /** A replica's URL, for reads of past hours. */
  readonly readUrl?: string | undefined;
  readonly onReplicaChange?: OnReplicaChange | undefined;
  readonly tls?: MysqlTls | undefined;
  /** How many shards flush concurrently; default 1. */
  readonly shards?: number | undefined;
  /** The deadline of each statement of a flush, and of connecting. */
  readonly flushTimeoutMs?: number | undefined;
  /** The deadline of each statement of a read, and of connecting. */
  readonly readTimeoutMs?: number | undefined;
}

type Work<T, Args extends unknown[] = []> = (session: MysqlSession, ...args: Args) => Promise<T>;

const DEFAULT_FLUSH_TIMEOUT_MS = 10_000;
const DEFAULT_READ_TIMEOUT_MS = 1_000;
/** Ranges may be large, but a server that stops answering must be noticed before clients time out. */
const RANGE_TIMEOUT_MS = 10_000;
/** Enough to scan all rows of a large table. */
const SCAN_TIMEOUT_MS = 600_000;

/** One session per shard's flusher up to this, and one to adopt dead writers' journals. */
const FLUSHERS_MAX = 4;
const READ_SESSIONS = 4;
/** Separate from reads of single hours, which long ranges would block. */
const RANGE_SESSIONS = 2;
/** A table is scanned hour by hour on one connection: a new one per hour would double the time. */
const SCAN_SESSIONS = 1;
/** MySQL's maximum. */
const MAX_LOCK_NAME_CHARS = 64;
const CLOSE_GRACE_MS = 2_000;

export class MysqlDatabase {
  readonly description: string;
  readonly pastReads: PastReads | undefined;
  readonly #name: string;
  readonly #flushLink: MysqlLinkOptions;
  readonly #scanLink: MysqlLinkOptions;
  readonly #flushes: MysqlPool;
  readonly #reads: MysqlPool;
  readonly #ranges: MysqlPool;
  readonly #scans: MysqlPool;
  readonly #replica: MysqlReplica | undefined;

  constructor(options: MysqlDatabaseOptions) {
    const { url, readUrl, tls, flushTimeoutMs = DEFAULT_FLUSH_TIMEOUT_MS } = options;
    const { readTimeoutMs = DEFAULT_READ_TIMEOUT_MS, shards = 1 } = options;
    const target = parseTarget(url);
    this.#name = target.database;
    this.description = `MySQL at ${target.host}, database ${target.database}`;
    const flushLink = { url, tls, connectTimeoutMs: flushTimeoutMs, statementTimeoutMs: flushTimeoutMs };
    const readLink = { url, tls, connectTimeoutMs: readTimeoutMs, statementTimeoutMs: readTimeoutMs };
    const rangeLink = { ...readLink, statementTimeoutMs: RANGE_TIMEOUT_MS };
    this.#flushLink = flushLink;
    this.#scanLink = { ...flushLink, statementTimeoutMs: SCAN_TIMEOUT_MS };
    this.#flushes = new MysqlPool(flushLink, Math.min(shards, FLUSHERS_MAX) + 1);
    this.#reads = new MysqlPool(readLink, READ_SESSIONS);
    this.#ranges = new MysqlPool(rangeLink, RANGE_SESSIONS);
    this.#scans = new MysqlPool(this.#scanLink, SCAN_SESSIONS);
    if (readUrl === undefined) return;
    const scanLink = { ...readLink, statementTimeoutMs: SCAN_TIMEOUT_MS };
    const links = { range: { ...rangeLink, url: readUrl }, scan: { ...scanLink, url: readUrl } };
    this.#replica = new MysqlReplica({ links, primary: this.#reads, onChange: options.onReplicaChange });
    this.pastReads = this.#replica.reads;
  }

  flush<T, Args extends unknown[]>(what: string, work: Work<T, Args>, ...args: Args): Promise<T> {
    return this.#attempt(what, () => this.#flushes.use((session) => work(session, ...args)));
  }

  /** Quick work that leaves no transaction open. */
  read<T, Args extends unknown[]>(what: string, work: Work<T, Args>, ...args: Args): Promise<T> {
    return this.#attempt(what, () => this.#reads.use((session) => work(session, ...args)));
  }

  scan<T, Args extends unknown[]>(what: string, work: Work<T, Args>, ...args: Args): Promise<T> {
    return this.#attempt(what, () => this.#scans.use((session) => work(session, ...args)));
  }

  /** Runs long work on its own session. */
  alone<T, Args extends unknown[]>(what: string, work: Work<T, Args>, ...args: Args): Promise<T> {
    return this.#attempt(what, () => withOwnSession(this.#scanLink, (session) => work(session, ...args)));
  }

  /** Runs work on its own session, with the deadlines of a flush. */
  briefly<T, Args extends unknown[]>(what: string, work: Work<T, Args>, ...args: Args): Promise<T> {
    return this.#attempt(what, () => withOwnSession(this.#flushLink, (session) => work(session, ...args)));
  }

  /** Reads from the replica if there is one that does not lag. */
  readPast<T>(kind: PastRead, what: string, work: Work<T>): Promise<T> {
    const onPrimary = () => {
      return kind === "range" ? this.#ranges.use(work) : withOwnSession(this.#scanLink, work);
    };
    return this.#attempt(what, () => this.#replica?.read(kind, work, onPrimary) ?? onPrimary());
  }

  /** For the roles that MySQL and SQLite share: on sessions as read(), scan() or alone() takes them. */
  sqlOn(sessions: "read" | "scan" | "alone"): Sql {
    const run: RunSql = (what, work) => this[sessions](what, work);
    return { read: run, change: run, isoTime, userValue };
  }

  /** The same for all instances on this database, and for no other database. */
  lockName(purpose: string): string {
    return `${purpose}.${this.#name}`.slice(0, MAX_LOCK_NAME_CHARS);
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
      if (error instanceof RowVisitorError) throw error.cause;
      const message = `${this.description} could not ${what}: ${errorText(error)}`;
      throw new ColdUnavailableError(message, { cause: error });
    }
  }
}

/** The error quotes no part of the URL, which contains the password. */
function parseTarget(url: string): { host: string; database: string } {
  const parsed = URL.parse(url);
  const database = decodeURIComponent(parsed?.pathname.slice(1) ?? "");
  if (parsed === null || parsed.hostname === "" || database === "") {
    throw new Error("the MySQL URL must have the form mysql://user:password@host:port/database");
  }
  return { host: parsed.host, database };
}

/**
 * One connection to Redis that answers or fails within a deadline and reconnects by itself, to the server that holds
 * the data set then. In a cluster or under Sentinels that may be another server.
 *
 * Invariant: a command is in one of three states, and the caller learns which: answered; refused by the server or
 * before it was sent; sent, with unknown outcome. node-redis does not end a command on a silent socket, and its socket
 * timeout closes the client for good. So on a missed deadline this class destroys the connection and opens a new one.
 * No command is ever repeated on another server. The data of another database is neither read nor changed: each script
 * checks that first, since a server may be replaced or restored at any time.
 */
import { ErrorReply, RESP_TYPES } from "redis";
import { backoffMs, SharedDeadline } from "../../runtime/clock.ts";
import { errorText } from "../../runtime/error-text.ts";
import { describeRedisPlace, type RedisNode, type RedisPlace, redisPlaceOf } from "../../settings/redis-url.ts";
import { HotUnavailableError } from "../hot.ts";
import { type RedisClient, RedisConnection, type ReplicaAnswer } from "./connection.ts";
import ownDataSource from "./scripts/own-data.lua" with { type: "text" };

/**
 * A reply of a kind that the script never gives (a "QUEUED", the answer to another command). It does not prove that
 * anything was done, and its connection is out of step.
 */
class UnexpectedReplyError extends Error {
  override readonly name = "UnexpectedReplyError";
}

export type ReadReply<T> = (answer: unknown) => T;

interface Script {
  readonly name: string;
  readonly source: string;
  readonly sha1: string;
  /** It begins with own-data.lua, and gets what that needs. */
  readonly isChecked: boolean;
}

/** Without `isChecked` it may run on the data of another database. */
export function script(name: string, ownSource: string, isChecked = true): Script {
  const source = isChecked ? ownDataSource + ownSource : ownSource;
  return { name, source, sha1: new Bun.CryptoHasher("sha1").update(source).digest("hex"), isChecked };
}

/** What must be here: a server that holds the data of another database is left alone. */
export interface OwnData {
  /** The key of the data set. */
  readonly key: string;
  /** Of the database; empty if that is not known yet. */
  identity: string;
}

/** The server holds the data of another database. Nothing was done. */
export class OtherDataError extends HotUnavailableError {}

export type RunScript = <T>(what: Script, keys: string[], args: (string | Buffer)[], read: ReadReply<T>) => Promise<T>;

export type AskServer = <T>(what: string, ask: (client: RedisClient) => Promise<T>) => Promise<T>;

export interface RedisLinkOptions {
  readonly url: string;
  readonly slotKey: string;
  readonly ownData: OwnData;
  /** Certificates (PEM) of the authority that signed the server's; undefined: those that the runtime trusts. */
  readonly ca?: string | undefined;
  /** A server that does not answer within this time is considered unavailable. The 503 must be sent within a second. */
  readonly commandTimeoutMs: number;
  /** How many replicas must have a change before runOnReplicas() resolves; default 0. */
  readonly waitReplicas?: number | undefined;
  /** Called when a script with these keys has failed, before its caller is told. `run`: over the same connection. */
  readonly onFailure?: (error: unknown, keys: readonly string[], run: RunScript) => Promise<void>;
  /** Called on each new connection before anyone may use it. If it fails, so does connecting. */
  readonly onConnect: (run: RunScript, ask: AskServer) => Promise<void>;
  /** Called when a connection is lost: what was known about the server's state is no longer certain. */
  readonly onDrop: () => void;
}

const SHOWN_MAX_CHARS = 200;
const TEXTS = {};
const BYTES = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } };
const RECONNECT_FIRST_MS = 20;
const RECONNECT_MAX_MS = 500;
/** Replies by which a server says that another one is in charge, and that it has done nothing itself. */
const ASK_ANOTHER = /^(MOVED|READONLY|MASTERDOWN|CLUSTERDOWN) /;

export class RedisLink {
  readonly #options: RedisLinkOptions;
  readonly #place: RedisPlace;
  readonly #deadline: SharedDeadline;
  /** The nodes that the cluster had last: those of the URL may be gone when it reconnects. */
  #clusterNodes: readonly RedisNode[] = [];
  #connecting: Promise<void> | undefined;
  /** Connected, but unusable until onConnect has succeeded. */
  #newConnection: RedisConnection | undefined;
  #connection: RedisConnection | undefined;
  /** The number of connections so far. */
  connections = 0;
  #closed = false;
  #reconnectTimer: Timer | undefined;
  #lastError = "not connected yet";

  constructor(options: RedisLinkOptions) {
    this.#options = options;
    const place = redisPlaceOf(options.url);
    if (place === undefined) throw new Error("not a URL of Redis");
    this.#place = place;
    this.#deadline = new SharedDeadline(options.commandTimeoutMs);
  }

  get description(): string {
    return describeRedisPlace(this.#place);
  }

  get isReady(): boolean {
    return this.#connection?.client?.isReady === true;
  }

  /** Concurrent callers share one attempt: a second connection would stay open with no one to close it. */
  connect(): Promise<void> {
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(): Promise<void> {
    const { ca, slotKey, commandTimeoutMs: timeoutMs, onConnect } = this.#options;
    const connection: RedisConnection = new RedisConnection({
      ...{ place: this.#place, ca, slotKey, timeoutMs },
      onLost: (error) => this.#drop(connection, error),
    });
    this.#newConnection = connection;
    try {
      await connection.open(this.#clusterNodes);
      const ask: AskServer = (what, command) => this.#send(connection, what, (answer) => answer, command);
      await onConnect((what, keys, args, read) => this.#run(connection, what, keys, args, read), ask);
    } catch (error) {
      this.#lastError = errorText(error);
      connection.destroy();
      throw error instanceof HotUnavailableError ? error : this.#unavailable("connect", error, false);
    } finally {
      if (this.#newConnection === connection) this.#newConnection = undefined;
    }
    if (this.#closed || connection.client?.isReady !== true) {
      connection.destroy();
      throw this.#unavailable("connect", undefined, false);
    }
    this.#clusterNodes = connection.clusterNodes;
    this.#connection = connection;
    this.connections += 1;
  }

  /** Like connect(), but retries in the background. */
  connectInBackground(attempt = 0): void {
    if (this.#closed || this.#connection !== undefined) return;
    this.connect().catch(() => this.#reconnectAfter(attempt));
  }

  #reconnectAfter(attempt: number): void {
    if (this.#closed) return;
    clearTimeout(this.#reconnectTimer);
    this.#reconnectTimer = setTimeout(
      () => this.connectInBackground(attempt + 1),
      backoffMs(attempt, RECONNECT_FIRST_MS, RECONNECT_MAX_MS, Math.random),
    );
  }

  /** Gives the connection up. The next one is to the same server, unless onConnect refuses that. */
  leave(error: HotUnavailableError): void {
    if (this.#connection !== undefined) this.#drop(this.#connection, error);
  }

  #drop(connection: RedisConnection, error: unknown): void {
    if (error !== undefined) this.#lastError = errorText(error);
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    connection.destroy();
    this.#options.onDrop();
    this.connectInBackground();
  }

  /** `read` parses the answer, and throws UnexpectedReplyError if this script cannot give it. */
  readonly run: RunScript = (what, keys, args, read) => this.#run(this.#connection, what, keys, args, read);

  /**
   * Like run(), but resolves only once `waitReplicas` replicas have the change, and all earlier ones. If they do not in
   * time, the outcome is unknown: the server has the change, but may be lost together with it.
   */
  readonly runOnReplicas: RunScript = (what, keys, args, read) => {
    const { waitReplicas = 0 } = this.#options;
    // Both over the same connection: on another one, another server's replicas might answer.
    const connection = this.#connection;
    const running = this.#run(connection, what, keys, args, read);
    return waitReplicas === 0 ? running : this.#onReplicas(running, connection, waitReplicas, what.name);
  };

  async #onReplicas<T>(
    running: Promise<T>,
    connection: RedisConnection | undefined,
    replicas: number,
    what: string,
  ): Promise<T> {
    const answer = await running;
    // Commands sent over this connection meanwhile wait too, each with its own deadline.
    const waitMs = Math.ceil(this.#options.commandTimeoutMs / 2);
    let reached: number;
    try {
      reached = await this.#send(connection, "WAIT", integer, (client) => client.wait(replicas, waitMs));
    } catch (error) {
      throw this.#unavailable(what, error, true);
    }
    if (reached >= replicas) return answer;
    throw this.#unavailable(what, new Error(`${reached} of ${replicas} replicas had it within ${waitMs} ms`), true);
  }

  /** Like run(), but returns texts as Buffers, because sketches are not UTF-8. */
  runForBytes<T>(what: Script, keys: string[], args: (string | Buffer)[], read: ReadReply<T>): Promise<T> {
    return this.#run(this.#connection, what, keys, args, read, BYTES);
  }

  async #run<T>(
    connection: RedisConnection | undefined,
    what: Script,
    keys: readonly string[],
    args: readonly (string | Buffer)[],
    read: ReadReply<T>,
    options = TEXTS,
  ): Promise<T> {
    try {
      return await this.#runOn(connection, what, keys, args, read, options);
    } catch (error) {
      await this.#options.onFailure?.(error, keys, (...script) => this.#runOn(connection, ...script));
      throw error;
    }
  }

  /** Runs the script by its hash. Sends its source if the server does not know the hash. */
  async #runOn<T>(
    connection: RedisConnection | undefined,
    what: Script,
    keys: readonly string[],
    args: readonly (string | Buffer)[],
    read: ReadReply<T>,
    options: typeof TEXTS | typeof BYTES = TEXTS,
  ): Promise<T> {
    // evalSha() takes as long to build a command as all the rest of the client's work.
    const { key, identity } = this.#options.ownData;
    const rest = what.isChecked
      ? [String(keys.length + 1), ...keys, key, ...args, identity]
      : [String(keys.length), ...keys, ...args];
    try {
      return await this.#send(connection, what.name, read, (client) =>
        client.sendCommand(["EVALSHA", what.sha1, ...rest], options),
      );
    } catch (error) {
      if (!isReply(error, /^NOSCRIPT/)) throw error;
      return await this.#send(connection, what.name, read, (client) =>
        client.sendCommand(["EVAL", what.source, ...rest], options),
      );
    }
  }

  readonly ask: AskServer = (what, ask) => this.#send(this.#connection, what, (answer) => answer, ask);

  /** Asks the replicas that may be promoted. Empty if nothing would promote them. */
  async askReplicas<T>(what: string, ask: (client: RedisClient) => Promise<T>): Promise<readonly ReplicaAnswer<T>[]> {
    const isPromoted = this.#place.kind !== "server" || this.#clusterNodes.length > 0;
    if (!isPromoted || this.#connection === undefined) return [];
    try {
      return await this.#connection.askReplicas(ask);
    } catch (error) {
      throw this.#unavailable(what, error, false);
    }
  }

  async #send<A, T>(
    connection: RedisConnection | undefined,
    what: string,
    read: (answer: A) => T,
    command: (client: RedisClient) => Promise<A>,
  ): Promise<T> {
    const client = connection?.client;
    if (connection === undefined || client?.isReady !== true) throw this.#unavailable(what, undefined, false);
    const missed = () => {
      const error = new Error(`no answer within ${this.#options.commandTimeoutMs} ms`);
      this.#drop(connection, error);
      return error;
    };
    try {
      return read(await this.#deadline.limit(command(client), missed));
    } catch (error) {
      if (error instanceof UnexpectedReplyError || isForAnother(error)) this.#drop(connection, error);
      // An error reply is an answer: our scripts refuse before they write. Any other error leaves the outcome open.
      throw this.#unavailable(what, error, !(error instanceof ErrorReply));
    }
  }

  #unavailable(what: string, cause: unknown, mayHaveApplied: boolean): HotUnavailableError {
    if (cause instanceof ErrorReply && cause.message.startsWith("OTHERDATABASE ")) {
      const { identity } = this.#options.ownData;
      const message = `Redis could not do '${what}': it holds data of another database than ${identity}`;
      return new OtherDataError(message, false, { cause });
    }
    const found = cause === undefined ? `not connected, last error: ${this.#lastError}` : errorText(cause);
    return new HotUnavailableError(`Redis could not do '${what}': ${found}`, mayHaveApplied, { cause });
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#reconnectTimer);
    for (const connection of [this.#connection, this.#newConnection]) connection?.destroy();
    this.#connection = undefined;
  }
}

/** Whether the server answered with an error like this. */
export function isReply(error: unknown, pattern: RegExp): boolean {
  if (!(error instanceof HotUnavailableError && error.cause instanceof ErrorReply)) return false;
  return pattern.test(error.cause.message);
}

function isForAnother(error: unknown): boolean {
  return error instanceof ErrorReply && ASK_ANOTHER.test(error.message);
}

export function unexpected(answer: unknown, expected: string): UnexpectedReplyError {
  const got = JSON.stringify(answer)?.slice(0, SHOWN_MAX_CHARS);
  return new UnexpectedReplyError(`the answer was ${got}, expected ${expected}`);
}

export function integer(answer: unknown): number {
  if (typeof answer !== "number") throw unexpected(answer, "an integer");
  return answer;
}

export function flag(answer: unknown): boolean {
  if (answer !== 1 && answer !== 0) throw unexpected(answer, "0 or 1");
  return answer === 1;
}

export function list(answer: unknown): readonly unknown[] {
  if (!Array.isArray(answer)) throw unexpected(answer, "a list");
  return answer;
}

export function integerText(answer: unknown): number {
  if (typeof answer !== "string" || !/^\d+$/.test(answer)) throw unexpected(answer, "digits");
  return Number(answer);
}

export function text(answer: unknown): string {
  if (typeof answer !== "string") throw unexpected(answer, "a text");
  return answer;
}

/**
 * One connection to Redis that answers or fails within a deadline, and comes back by itself: to the server that
 * holds the data set then, which in a cluster or under Sentinels may be another one.
 *
 * Invariant: a command is in one of three states, and the caller is told which: answered; refused before it
 * was sent, or by the server; or sent with its outcome unknown. node-redis does not end a command that waits on a
 * silent socket, and its socket timeout closes the client for good: so on a missed deadline the connection is
 * destroyed here, and a new one is made here. Nothing is ever repeated on another server.
 */
import { ErrorReply, RESP_TYPES } from "redis";
import { backoffMs } from "../../runtime/backoff.ts";
import { SharedDeadline } from "../../runtime/deadline.ts";
import { errorText } from "../../runtime/error-text.ts";
import { describeRedisPlace, type RedisNode, type RedisPlace, redisPlaceOf } from "../../settings/redis-url.ts";
import { HotUnavailableError } from "../hot.ts";
import { type RedisClient, RedisConnection, type RedisInfo } from "./connection.ts";

/**
 * A reply of a kind that the script never gives (a "QUEUED", an answer to somebody else's question) is no proof that
 * anything was done, and the connection that it came over is out of step.
 */
class UnexpectedReplyError extends Error {
  override readonly name = "UnexpectedReplyError";
}

export type ReadReply<T> = (answer: unknown) => T;

export interface Script {
  readonly name: string;
  readonly source: string;
  readonly sha1: string;
}

export function script(name: string, source: string): Script {
  return { name, source, sha1: new Bun.CryptoHasher("sha1").update(source).digest("hex") };
}

export type RunScript = <T>(what: Script, keys: string[], args: (string | Buffer)[], read: ReadReply<T>) => Promise<T>;

export interface RedisLinkOptions {
  readonly url: string;
  readonly slotKey: string;
  /** Certificates (PEM) that the server's is signed by; undefined: those that the runtime knows. */
  readonly ca?: string | undefined;
  /** Answer within this or be taken for away. The 503 has to be out within a second. */
  readonly commandTimeoutMs: number;
  /** Called on each new connection before anybody else may use it. If it fails, so does connecting. */
  readonly onConnect: (run: RunScript) => Promise<void>;
  /** Called whenever a connection was lost: what was known about the server's state is no longer certain. */
  readonly onDrop: () => void;
}

const SHOWN_MAX_CHARS = 200;
const TEXTS = {};
const BYTES = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } };
const RECONNECT_FIRST_MS = 20;
const RECONNECT_MAX_MS = 500;
/** By these a server says that it is not, or no longer, the one to ask. It has done nothing. */
const ASK_ANOTHER = /^(MOVED|READONLY|MASTERDOWN|CLUSTERDOWN) /;

export class RedisLink {
  readonly #options: RedisLinkOptions;
  readonly #place: RedisPlace;
  readonly #deadline: SharedDeadline;
  /** Of the cluster, when it was last seen: those that are named may be gone by the next time. */
  #clusterNodes: readonly RedisNode[] = [];
  #connecting: Promise<void> | undefined;
  /** Connected, but not for use before onConnect has passed. */
  #newConnection: RedisConnection | undefined;
  #connection: RedisConnection | undefined;
  /** How many there have been. */
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

  /** Whoever asks meanwhile gets the same one: of two, one would stay open with nobody to close it. */
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
      await onConnect((what, keys, args, read) => this.#runOn(connection, what, keys, args, read));
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

  /** Like connect(), but goes on trying in the background when it fails. */
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

  #drop(connection: RedisConnection, error: unknown): void {
    if (error !== undefined) this.#lastError = errorText(error);
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    connection.destroy();
    this.#options.onDrop();
    this.connectInBackground();
  }

  /** `read` takes the answer apart, and throws UnexpectedReplyError if it is not one of this script. */
  run<T>(what: Script, keys: string[], args: (string | Buffer)[], read: ReadReply<T>): Promise<T> {
    return this.#runOn(this.#connection, what, keys, args, read);
  }

  /**
   * Like run(), but answers only once so many replicas have it too, and all that was written before it. If they have
   * not in time, its outcome is unknown, though the server has it: that may be lost with the server.
   */
  async runOnReplicas<T>(
    replicas: number,
    what: Script,
    keys: string[],
    args: (string | Buffer)[],
    read: ReadReply<T>,
  ): Promise<T> {
    // The same connection for both: over another one it might be another server's replicas that answer.
    const connection = this.#connection;
    const answer = await this.#runOn(connection, what, keys, args, read);
    if (replicas > 0) await this.#awaitReplicas(connection, replicas, what.name);
    return answer;
  }

  async #awaitReplicas(connection: RedisConnection | undefined, replicas: number, what: string): Promise<void> {
    // Whatever is asked over this connection meanwhile waits, too, and has its own deadline.
    const waitMs = Math.ceil(this.#options.commandTimeoutMs / 2);
    let reached: number;
    try {
      reached = await this.#send(connection, "WAIT", integer, (client) => client.wait(replicas, waitMs));
    } catch (error) {
      throw this.#unavailable(what, error, true);
    }
    if (reached >= replicas) return;
    throw this.#unavailable(what, new Error(`${reached} of ${replicas} replicas had it within ${waitMs} ms`), true);
  }

  /** Like run(), but every text in the answer is a Buffer: a sketch is no UTF-8. */
  runForBytes<T>(what: Script, keys: string[], args: (string | Buffer)[], read: ReadReply<T>): Promise<T> {
    return this.#runOn(this.#connection, what, keys, args, read, BYTES);
  }

  /** By the script's hash; sends it whole when the server does not have it (any more). */
  async #runOn<T>(
    connection: RedisConnection | undefined,
    what: Script,
    keys: readonly string[],
    args: readonly (string | Buffer)[],
    read: ReadReply<T>,
    options: typeof TEXTS | typeof BYTES = TEXTS,
  ): Promise<T> {
    // Not by evalSha(), whose way of building a command takes as long as all the rest of the client's work.
    const rest = [String(keys.length), ...keys, ...args];
    try {
      return await this.#send(connection, what.name, read, (client) =>
        client.sendCommand(["EVALSHA", what.sha1, ...rest], options),
      );
    } catch (error) {
      if (!(error instanceof HotUnavailableError && isNoScript(error.cause))) throw error;
      return await this.#send(connection, what.name, read, (client) =>
        client.sendCommand(["EVAL", what.source, ...rest], options),
      );
    }
  }

  async info(section: string): Promise<string> {
    return await this.#send(this.#connection, "INFO", text, (client) => client.info(section));
  }

  /** Of the replicas that may take the server's place: none if nobody would let them. */
  async replicaInfos(sections: readonly string[]): Promise<readonly RedisInfo[]> {
    const isPromoted = this.#place.kind !== "server" || this.#clusterNodes.length > 0;
    if (!isPromoted || this.#connection === undefined) return [];
    try {
      return await this.#connection.replicaInfos(sections);
    } catch (error) {
      throw this.#unavailable("INFO", error, false);
    }
  }

  async #send<T>(
    connection: RedisConnection | undefined,
    what: string,
    read: ReadReply<T>,
    command: (client: RedisClient) => Promise<unknown>,
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
      // An error reply is an answer: our scripts refuse before they write. All else leaves it open.
      throw this.#unavailable(what, error, !(error instanceof ErrorReply));
    }
  }

  #unavailable(what: string, cause: unknown, mayHaveApplied: boolean): HotUnavailableError {
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

function isNoScript(cause: unknown): boolean {
  return cause instanceof ErrorReply && cause.message.startsWith("NOSCRIPT");
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

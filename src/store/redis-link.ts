/**
 * One connection to Redis that answers or fails within a deadline, and comes back by itself.
 *
 * Invariant: a command is in one of three states, and the caller is told which: answered; refused before it
 * was sent; or sent with its outcome unknown. node-redis does not end a command that waits on a silent
 * socket, and its socket timeout closes the client for good: so on a missed deadline the connection is
 * destroyed here, and a new one is made here.
 */
import { createClient, ErrorReply, RESP_TYPES } from "redis";
import { backoffMs } from "../count/backoff.ts";
import { errorText, withDeadline } from "../count/deadline.ts";
import { HotUnavailableError } from "./hot.ts";
import { type ReadReply, text, UnexpectedReplyError } from "./redis-replies.ts";

type Client = ReturnType<typeof connectionTo>;

export interface Script {
  readonly name: string;
  readonly source: string;
  readonly sha1: string;
}

export function script(name: string, source: string): Script {
  return { name, source, sha1: new Bun.CryptoHasher("sha1").update(source).digest("hex") };
}

function connectionTo(url: string, connectTimeoutMs: number, ca: string | undefined) {
  return createClient({
    url,
    // RESP3 would bring push messages and maintenance notifications that nobody here listens to.
    RESP: 2,
    disableOfflineQueue: true,
    socket: {
      ...{ reconnectStrategy: false, connectTimeout: connectTimeoutMs, noDelay: true },
      // The protocol of the URL decides whether there is TLS.
      ...(ca !== undefined && { tls: true, ca }),
    },
  });
}

export type RunScript = <T>(
  what: Script,
  keys: string[],
  args: (string | Buffer)[],
  read: ReadReply<T>,
) => Promise<T>;

export interface RedisLinkOptions {
  readonly url: string;
  /** Certificates (PEM) that the server's is signed by; undefined: those that the runtime knows. */
  readonly ca?: string | undefined;
  readonly commandTimeoutMs: number;
  /** Called on each new connection before anybody else may use it. If it fails, so does connecting. */
  readonly onConnect: (run: RunScript) => Promise<void>;
  /** Called whenever a connection was lost: what was known about the server's state is no longer certain. */
  readonly onDrop: () => void;
}

const BYTES = { [RESP_TYPES.BLOB_STRING]: Buffer };
const RECONNECT_FIRST_MS = 20;
const RECONNECT_MAX_MS = 500;

export class RedisLink {
  readonly #options: RedisLinkOptions;
  #connecting: Promise<void> | undefined;
  /** Connected, but not for use before onConnect has passed. */
  #newClient: Client | undefined;
  #client: Client | undefined;
  #closed = false;
  #reconnectTimer: Timer | undefined;
  #lastError = "not connected yet";

  constructor(options: RedisLinkOptions) {
    this.#options = options;
  }

  get isReady(): boolean {
    return this.#client?.isReady === true;
  }

  /** Whoever asks meanwhile gets the same one: of two, one would stay open with nobody to close it. */
  connect(): Promise<void> {
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(): Promise<void> {
    const { url, ca, commandTimeoutMs, onConnect } = this.#options;
    const client = connectionTo(url, commandTimeoutMs, ca);
    client.on("error", (error) => this.#drop(client, error));
    client.on("end", () => this.#drop(client, undefined));
    this.#newClient = client;
    try {
      const connecting = client.connect();
      connecting.catch(() => {});
      await withDeadline(
        connecting,
        commandTimeoutMs,
        () => new Error(`no answer to the handshake within ${commandTimeoutMs} ms`),
      );
      await onConnect((what, keys, args, read) => this.#runOn(client, what, keys, args, read));
    } catch (error) {
      this.#lastError = errorText(error);
      destroy(client);
      throw error instanceof HotUnavailableError ? error : this.#unavailable("connect", error, false);
    } finally {
      if (this.#newClient === client) this.#newClient = undefined;
    }
    if (this.#closed || !client.isReady) {
      destroy(client);
      throw this.#unavailable("connect", undefined, false);
    }
    this.#client = client;
  }

  /** Like connect(), but goes on trying in the background when it fails. */
  connectInBackground(attempt = 0): void {
    if (this.#closed || this.#client !== undefined) return;
    this.connect().catch(() => this.#reconnectAfter(attempt));
  }

  #reconnectAfter(attempt: number): void {
    if (this.#closed) return;
    clearTimeout(this.#reconnectTimer);
    this.#reconnectTimer = setTimeout(
      () => this.connectInBackground(attempt + 1),
      backoffMs(attempt, RECONNECT_FIRST_MS, RECONNECT_MAX_MS),
    );
  }

  #drop(client: Client, error: unknown): void {
    if (error !== undefined) this.#lastError = errorText(error);
    if (this.#client !== client) return;
    this.#client = undefined;
    destroy(client);
    this.#options.onDrop();
    this.connectInBackground();
  }

  /** `read` takes the answer apart, and throws UnexpectedReplyError if it is not one of this script. */
  run<T>(what: Script, keys: string[], args: (string | Buffer)[], read: ReadReply<T>): Promise<T> {
    return this.#runOn(this.#client, what, keys, args, read);
  }

  /** Like run(), but every text in the answer is a Buffer: a sketch is no UTF-8. */
  runForBytes<T>(what: Script, keys: string[], args: (string | Buffer)[], read: ReadReply<T>): Promise<T> {
    return this.#runOn(this.#client, what, keys, args, read, (client) => client.withTypeMapping(BYTES));
  }

  /** By the script's hash; sends it whole when the server does not have it (any more). */
  async #runOn<T>(
    client: Client | undefined,
    what: Script,
    keys: string[],
    args: (string | Buffer)[],
    read: ReadReply<T>,
    view: (client: Client) => Pick<Client, "evalSha" | "eval"> = (same) => same,
  ): Promise<T> {
    const options = { keys, arguments: args };
    try {
      return await this.#send(client, what.name, read, (ready) => view(ready).evalSha(what.sha1, options));
    } catch (error) {
      if (!(error instanceof HotUnavailableError && isNoScript(error.cause))) throw error;
      return await this.#send(client, what.name, read, (ready) => view(ready).eval(what.source, options));
    }
  }

  async info(section: string): Promise<string> {
    return await this.#send(this.#client, "INFO", text, (client) => client.info(section));
  }

  async #send<T>(
    client: Client | undefined,
    what: string,
    read: ReadReply<T>,
    command: (client: Client) => Promise<unknown>,
  ): Promise<T> {
    if (client === undefined || !client.isReady) throw this.#unavailable(what, undefined, false);
    const { commandTimeoutMs } = this.#options;
    try {
      const answer = await withDeadline(command(client), commandTimeoutMs, () => {
        const error = new Error(`no answer within ${commandTimeoutMs} ms`);
        this.#drop(client, error);
        return error;
      });
      return read(answer);
    } catch (error) {
      if (error instanceof UnexpectedReplyError) this.#drop(client, error);
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
    for (const client of [this.#client, this.#newClient]) if (client !== undefined) destroy(client);
    this.#client = undefined;
  }
}

function isNoScript(cause: unknown): boolean {
  return cause instanceof ErrorReply && cause.message.startsWith("NOSCRIPT");
}

function destroy(client: Client): void {
  // destroy() throws on a client that is closed already: that is what was wanted.
  try {
    client.destroy();
  } catch {}
}

/**
 * HTTP/1.1 over a plain socket, one request at a time. `fetch` is unsuitable where a test counts what it sent: it
 * retries by itself when a kept connection breaks, and it repairs what should arrive broken.
 *
 * Invariant: a request is written at most once, and its promise ends with the whole answer, or with a
 * LostConnectionError if the connection went first: then the request's outcome is unknown.
 */
import { connect, type Socket } from "node:net";

export interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

export class LostConnectionError extends Error {
  override readonly name = "LostConnectionError";
}

interface Expected {
  readonly isHead: boolean;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

const HOST = "127.0.0.1";
/** Far above anything that is right: a request that hangs fails its test with a reason. */
const SILENCE_MAX_MS = 30_000;
const HEAD_END = Buffer.from("\r\n\r\n");

/** Rejects if the connection is refused: then nothing was sent. */
export function openConnection(port: number): Promise<HttpConnection> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: HOST, noDelay: true });
    socket.once("error", reject);
    socket.once("connect", () => resolve(new HttpConnection(socket)));
  });
}

/** One request over a connection of its own. */
export async function ask(port: number, request: Request): Promise<Answer> {
  const connection = await openConnection(port);
  try {
    return await connection.send(request);
  } finally {
    connection.close();
  }
}

export interface Request {
  readonly method: string;
  /** Path and query, sent as it is: bytes in a Buffer may be anything. */
  readonly target: string | Buffer;
  /** The value of Host: `localhost` if it is left out, and no such header if it is null. */
  readonly host?: string | null;
  /** Lines without their ends. */
  readonly headers?: readonly string[];
  readonly body?: string;
}

/** A body is sent as it is: the headers that announce it are the caller's. */
export function bytesOf({ method, target, host = "localhost", headers = [], body = "" }: Request): Buffer {
  const hosts = host === null ? [] : [`Host: ${host}`];
  const lines = [...hosts, ...headers].map((line) => `${line}\r\n`).join("");
  // HTTP/1.1 requires a Host.
  const version = host === null ? "1.0" : "1.1";
  return Buffer.concat([
    Buffer.from(`${method} `),
    Buffer.from(target),
    Buffer.from(` HTTP/${version}\r\n${lines}\r\n${body}`),
  ]);
}

export class HttpConnection {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #expected: Expected | undefined;
  #isOver = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setTimeout(SILENCE_MAX_MS, () => socket.destroy(new Error("silent for too long")));
    socket.on("data", (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#takeAnswer(false);
    });
    // An error is followed by a close.
    socket.on("error", () => {});
    socket.on("close", () => this.#end());
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  send(request: Request): Promise<Answer> {
    return this.sendBytes(bytesOf(request), request.method === "HEAD");
  }

  sendBytes(bytes: Buffer, isHead = false): Promise<Answer> {
    if (this.#expected !== undefined) throw new Error("the last request is not answered yet");
    if (this.#isOver) return Promise.reject(new LostConnectionError("closed before the request"));
    return new Promise((resolve, reject) => {
      this.#expected = { isHead, resolve, reject };
      this.#socket.write(bytes);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #end(): void {
    this.#isOver = true;
    this.#takeAnswer(true);
    this.#expected?.reject(new LostConnectionError("closed before the answer was complete"));
    this.#expected = undefined;
  }

  #takeAnswer(isLast: boolean): void {
    const { isHead = false, resolve } = this.#expected ?? {};
    const headEnd = this.#received.indexOf(HEAD_END);
    if (resolve === undefined || headEnd === -1) return;
    const { status, headers } = parseHead(this.#received.subarray(0, headEnd).toString("latin1"));
    const rest = this.#received.subarray(headEnd + HEAD_END.length);
    const bodyBytes = bodyLength(status, headers, isHead) ?? (isLast ? rest.length : Number.POSITIVE_INFINITY);
    if (rest.length < bodyBytes) return;
    this.#received = rest.subarray(bodyBytes);
    this.#expected = undefined;
    // The server closes it: a request sent now would be lost.
    if (headers.get("connection")?.toLowerCase() === "close") this.#isOver = true;
    resolve({ status, headers, body: rest.subarray(0, bodyBytes).toString() });
  }
}

function parseHead(text: string): Pick<Answer, "status" | "headers"> {
  const [statusLine = "", ...lines] = text.split("\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1];
  if (status === undefined) throw new Error(`not an answer: ${JSON.stringify(statusLine)}`);
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { status: Number(status), headers: new Map(headers) };
}

/** Undefined: until the connection is closed. */
function bodyLength(status: number, headers: ReadonlyMap<string, string>, isHead: boolean): number | undefined {
  if (isHead || status === 204 || status === 304) return 0;
  const length = headers.get("content-length");
  return length === undefined ? undefined : Number(length);
}

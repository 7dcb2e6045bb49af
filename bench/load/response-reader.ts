/**
 * Finds the end of an HTTP/1.1 response in what a socket brings, with one request on its way at a time.
 * Invariant: what it does not understand is an error, never a response.
 */
const HEAD_END = Buffer.from("\r\n\r\n");
const STATUS_START = 9;
const NO_CONTENT = 204;

export class ResponseReader {
  #held: Buffer | undefined;

  /** The status once the response is whole, else undefined. */
  push(chunk: Buffer): number | undefined {
    const bytes = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk]);
    const headEnd = bytes.indexOf(HEAD_END);
    if (headEnd === -1) return this.#hold(bytes);
    const status = statusOf(bytes);
    const length = headEnd + HEAD_END.length + bodyLength(bytes, headEnd, status);
    if (bytes.length < length) return this.#hold(bytes);
    if (bytes.length > length) throw new Error(`${bytes.length - length} bytes came behind a response`);
    this.#held = undefined;
    return status;
  }

  #hold(bytes: Buffer): undefined {
    // The socket uses a chunk's memory again.
    this.#held = Buffer.from(bytes);
  }
}

function statusOf(bytes: Buffer): number {
  const text = bytes.toString("latin1", STATUS_START, STATUS_START + 3);
  if (!/^\d{3}$/.test(text)) throw new Error(`not a response: ${bytes.toString("latin1", 0, 40)}`);
  return Number(text);
}

function bodyLength(bytes: Buffer, headEnd: number, status: number): number {
  if (status === NO_CONTENT) return 0;
  const head = bytes.toString("latin1", 0, headEnd);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length === undefined) throw new Error(`a response without Content-Length: ${head}`);
  return Number(length);
}

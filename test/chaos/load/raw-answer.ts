/**
 * Finds the end of an HTTP/1.1 answer in the bytes received so far, usually by looking at a few bytes: a generator must
 * be faster than its target.
 */
const HEAD_END = "\r\n\r\n";
const STATUS_AT = 9;
const ZERO = 48;
const CONTENT_LENGTH = /\r\ncontent-length: *(\d+)/i;
const CLOSES = /\r\nconnection: *close/i;

export interface RawAnswer {
  readonly status: number;
  /** Undefined if it has no body. */
  readonly body: string | undefined;
  /** The server closes the connection behind it. */
  readonly isLast: boolean;
}

/** Undefined if it is not whole yet. Throws if it is no answer at all. */
export function wholeAnswer(received: Buffer, isHead = false): RawAnswer | undefined {
  if (received.length < STATUS_AT + 3) return undefined;
  const status = statusOf(received);
  const headEnd = received.indexOf(HEAD_END);
  if (headEnd === -1) return undefined;
  const head = received.subarray(0, headEnd).toString("latin1");
  const isLast = CLOSES.test(head);
  const length = isHead || status === 204 ? 0 : Number(CONTENT_LENGTH.exec(head)?.[1] ?? 0);
  const bodyAt = headEnd + HEAD_END.length;
  if (received.length < bodyAt + length) return undefined;
  const body = length === 0 ? undefined : received.subarray(bodyAt, bodyAt + length).toString();
  return { status, body, isLast };
}

function statusOf(received: Buffer): number {
  let status = 0;
  for (let i = STATUS_AT; i < STATUS_AT + 3; i++) {
    const digit = received[i]! - ZERO;
    if (digit < 0 || digit > 9) throw new Error(`not an answer: ${received.subarray(0, 80).toString("latin1")}`);
    status = 10 * status + digit;
  }
  return status;
}

/**
 * One open connection of GET /live, and the messages that are sent to it.
 * Invariant: what a viewer does not take in time is skipped and not queued, as each message replaces the one before.
 */
const encoder = new TextEncoder();
/** Sent at once, so that the answer begins; `retry` is for clients that reconnect by themselves. */
const GREETING = encoder.encode("retry: 2000\n\n");
export const KEEP_ALIVE = encoder.encode(": still here\n\n");

export interface Reading {
  readonly ofStream: object;
  /** Added for viewers who may know of all streams. */
  readonly ofAll: object;
  /** Readings of the last minute, for the first message of a viewer. */
  readonly history?: readonly object[];
  readonly hasFailed?: boolean;
}

export interface Spectator {
  readonly signal: AbortSignal;
  /** Its key or address: each has a share of the feeds. Undefined: it is not limited. */
  readonly client: string | undefined;
  readonly seesAll: boolean;
  isLetIn(): boolean;
}

/** A reading as it is sent: serialized once for all viewers who see the same part of it. */
export class Message {
  readonly #reading: Reading;
  readonly #parts = new Map<string, Uint8Array>();

  constructor(reading: Reading) {
    this.#reading = reading;
  }

  bytes(seesAll: boolean, isFirst: boolean): Uint8Array {
    const part = `${seesAll} ${isFirst}`;
    let bytes = this.#parts.get(part);
    if (bytes === undefined) {
      const { ofStream, ofAll, history } = this.#reading;
      bytes = bytesOf({ ...ofStream, ...(seesAll && ofAll), ...(isFirst && history && { history }) });
      this.#parts.set(part, bytes);
    }
    return bytes;
  }
}

function bytesOf(data: object): Uint8Array {
  return encoder.encode(`data: ${JSON.stringify(data)}\n\n`);
}

export class Viewer {
  readonly #controller: ReadableStreamDefaultController<Uint8Array>;
  readonly #spectator: Spectator;
  #isFirst = true;
  /** Messages in a row that it did not take. */
  missed = 0;

  constructor(controller: ReadableStreamDefaultController<Uint8Array>, spectator: Spectator) {
    this.#controller = controller;
    this.#spectator = spectator;
    controller.enqueue(GREETING);
  }

  get client(): string | undefined {
    return this.#spectator.client;
  }

  get isLetIn(): boolean {
    return this.#spectator.isLetIn();
  }

  show(message: Message): void {
    this.send(message.bytes(this.#spectator.seesAll, this.#isFirst));
    this.#isFirst = false;
  }

  /** `desiredSize`: for how many messages there is room. */
  send(message: Uint8Array): void {
    const hasRoom = (this.#controller.desiredSize ?? 0) > 0;
    this.missed = hasRoom ? 0 : this.missed + 1;
    if (hasRoom) this.#controller.enqueue(message);
  }

  end(): void {
    try {
      this.#controller.close();
    } catch {
      // The client closed it.
    }
  }
}

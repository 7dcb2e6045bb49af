/**
 * Hands what is read of a stream, again and again, to all who watch it.
 *
 * Invariants:
 * - A feed reads at most once a second, one reading at a time, for all its viewers; what nobody watches is not
 *   read.
 * - A feed is busy for a twentieth of the time at most: where readings take long, there are fewer of them.
 * - Who takes in too slowly is left out of messages, and in the end cut off: each message replaces the one
 *   before, so that none has to be kept.
 * - Who may not watch any longer gets no message more, and is cut off with the next one that is due.
 * - There are at most VIEWERS_MAX viewers and FEEDS_MAX feeds.
 */
const INTERVAL_MS = 1_000;
const BUSY_SHARE = 1 / 20;
/** How long readings take is the least of so many: one alone may just have had to wait. */
const COST_READINGS = 3;
/** While a reading takes longer than that, a comment shows that the connection lives: proxies cut silent ones. */
const SILENCE_MAX_MS = 5_000;
const VIEWERS_MAX = 1_000;
const FEEDS_MAX = 100;
/** Messages in a row that a viewer did not take. */
const MISSED_MAX = 30;

const encoder = new TextEncoder();
const COMMENT = encoder.encode(": still here\n\n");
/** Sent at once, so that the answer has begun; `retry` is for clients that connect again by themselves. */
const GREETING = encoder.encode("retry: 2000\n\n");

/** What is to be sent, as the members of one object. */
export interface Reading {
  /** For all who watch. */
  readonly ofStream: object;
  /** For those who may know of all streams. */
  readonly ofAll: object;
}

/** Never rejects. */
export type ReadStream = (stream: string) => Promise<Reading>;

export interface Spectator {
  /** Aborted when it is gone. */
  readonly signal: AbortSignal;
  readonly seesAll: boolean;
  /** Asked before each message. */
  isLetIn(): boolean;
}

export interface LiveTimes {
  readonly intervalMs: number;
  readonly silenceMaxMs: number;
}

const TIMES: LiveTimes = { intervalMs: INTERVAL_MS, silenceMaxMs: SILENCE_MAX_MS };

export class LiveFeeds {
  readonly #read: ReadStream;
  readonly #times: LiveTimes;
  readonly #feeds = new Map<string, Feed>();
  readCount = 0;

  constructor(read: ReadStream, times = TIMES) {
    this.#times = times;
    this.#read = (stream) => {
      this.readCount += 1;
      return read(stream);
    };
  }

  get viewerCount(): number {
    let count = 0;
    for (const feed of this.#feeds.values()) count += feed.viewerCount;
    return count;
  }

  /** Every stream of events that is open. */
  end(): void {
    for (const feed of [...this.#feeds.values()]) feed.endAll();
  }

  /**
   * Server-sent events until the spectator is gone, or let in no longer, or reads nothing. Undefined if that would be
   * one too many.
   */
  watch(stream: string, spectator: Spectator): ReadableStream<Uint8Array> | undefined {
    if (this.viewerCount >= VIEWERS_MAX) return undefined;
    const feed = this.#feeds.get(stream) ?? this.#newFeed(stream);
    if (feed === undefined) return undefined;
    const { signal } = spectator;
    let viewer: Viewer;
    const source = {
      start(controller: ReadableStreamDefaultController<Uint8Array>) {
        viewer = new Viewer(controller, spectator);
        feed.add(viewer);
        signal.addEventListener("abort", () => feed.end(viewer), { once: true });
        if (signal.aborted) feed.end(viewer);
      },
      cancel: () => feed.end(viewer),
    };
    // Room for the greeting, and for what was read last.
    return new ReadableStream<Uint8Array>(source, { highWaterMark: 2 });
  }

  #newFeed(stream: string): Feed | undefined {
    if (this.#feeds.size >= FEEDS_MAX) return undefined;
    const feed = new Feed(this.#times, {
      read: () => this.#read(stream),
      whenUnwatched: () => this.#feeds.delete(stream),
    });
    this.#feeds.set(stream, feed);
    return feed;
  }
}

/** A reading as it is sent: turned into bytes once for all who see the same of it. */
class Message {
  readonly #reading: Reading;
  #whole: Uint8Array | undefined;
  #limited: Uint8Array | undefined;

  constructor(reading: Reading) {
    this.#reading = reading;
  }

  bytes(seesAll: boolean): Uint8Array {
    const { ofStream, ofAll } = this.#reading;
    if (seesAll) {
      this.#whole ??= bytesOf({ ...ofStream, ...ofAll });
      return this.#whole;
    }
    this.#limited ??= bytesOf(ofStream);
    return this.#limited;
  }
}

function bytesOf(data: object): Uint8Array {
  return encoder.encode(`data: ${JSON.stringify(data)}\n\n`);
}

class Viewer {
  readonly #controller: ReadableStreamDefaultController<Uint8Array>;
  readonly #spectator: Spectator;
  missed = 0;

  constructor(controller: ReadableStreamDefaultController<Uint8Array>, spectator: Spectator) {
    this.#controller = controller;
    this.#spectator = spectator;
    controller.enqueue(GREETING);
  }

  get isLetIn(): boolean {
    return this.#spectator.isLetIn();
  }

  show(message: Message): void {
    this.send(message.bytes(this.#spectator.seesAll));
  }

  /** `desiredSize` is how many messages there is room for; of one that waits for its connection there is none. */
  send(message: Uint8Array): void {
    const hasRoom = (this.#controller.desiredSize ?? 0) > 0;
    this.missed = hasRoom ? 0 : this.missed + 1;
    if (hasRoom) this.#controller.enqueue(message);
  }

  end(): void {
    try {
      this.#controller.close();
    } catch {
      // It was closed from the other side.
    }
  }
}

interface FeedHooks {
  read(): Promise<Reading>;
  whenUnwatched(): void;
}

class Feed {
  readonly #times: LiveTimes;
  readonly #hooks: FeedHooks;
  readonly #viewers = new Set<Viewer>();
  readonly #tookMs: number[] = [];
  #latest: Message | undefined;
  #next: Timer | undefined;
  #silence: Timer | undefined;

  constructor(times: LiveTimes, hooks: FeedHooks) {
    this.#times = times;
    this.#hooks = hooks;
  }

  get viewerCount(): number {
    return this.#viewers.size;
  }

  add(viewer: Viewer): void {
    this.#viewers.add(viewer);
    if (this.#viewers.size === 1) this.#start();
    else if (this.#latest !== undefined) viewer.show(this.#latest);
  }

  end(viewer: Viewer): void {
    if (!this.#viewers.delete(viewer)) return;
    viewer.end();
    if (this.#viewers.size > 0) return;
    clearTimeout(this.#next);
    clearInterval(this.#silence);
    this.#hooks.whenUnwatched();
  }

  endAll(): void {
    for (const viewer of [...this.#viewers]) this.end(viewer);
  }

  #start(): void {
    this.#silence = setInterval(
      () => this.#toAll((viewer) => viewer.send(COMMENT)),
      this.#times.silenceMaxMs,
    );
    void this.#readOn();
  }

  async #readOn(): Promise<void> {
    const startMs = performance.now();
    const message = new Message(await this.#hooks.read());
    if (this.#viewers.size === 0) return;
    this.#latest = message;
    this.#toAll((viewer) => viewer.show(message));
    if (this.#viewers.size === 0) return;
    this.#silence?.refresh();
    const pauseMs = this.#pauseMs(performance.now() - startMs);
    this.#next = setTimeout(() => void this.#readOn(), pauseMs);
  }

  #pauseMs(tookMs: number): number {
    this.#tookMs.push(tookMs);
    if (this.#tookMs.length > COST_READINGS) this.#tookMs.shift();
    const costMs = this.#tookMs.length < COST_READINGS ? 0 : Math.min(...this.#tookMs);
    return Math.max(this.#times.intervalMs - tookMs, costMs / BUSY_SHARE - costMs, 0);
  }

  #toAll(tell: (viewer: Viewer) => void): void {
    for (const viewer of this.#viewers) {
      const { isLetIn } = viewer;
      if (isLetIn) tell(viewer);
      if (!isLetIn || viewer.missed > MISSED_MAX) this.end(viewer);
    }
  }
}

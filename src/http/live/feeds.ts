/**
 * The feeds of GET /live: each reads one stream repeatedly for all its viewers, the open connections.
 *
 * Invariants:
 * - There are at most VIEWERS_MAX viewers and FEEDS_MAX feeds, and at most a quarter of each for one client.
 * - A feed reads at most once a second, one reading at a time, and only while somebody watches.
 * - It is busy for at most a twentieth of the time: slow readings become less frequent. Failed readings do not count,
 *   since they waited for a store.
 * - A new viewer is first shown a message that is at most FRESH_INTERVALS old.
 * - Messages that a viewer does not take in time are skipped, not queued, since each replaces the one before. A viewer
 *   that misses MISSED_MAX messages in a row is disconnected.
 * - A viewer whose key is revoked gets no further message, and is disconnected when the next one is due.
 */

const encoder = new TextEncoder();
/** Sent immediately, so that the answer begins. `retry` is for clients that reconnect by themselves. */
const GREETING = encoder.encode("retry: 2000\n\n");
const KEEP_ALIVE = encoder.encode(": still here\n\n");

export interface Reading {
  readonly ofStream: object;
  /** Added for viewers who may see all streams. */
  readonly ofAll: object;
  /** Readings of the last minute, for a viewer's first message. */
  readonly history?: readonly object[];
  readonly hasFailed?: boolean;
}

export interface Spectator {
  readonly signal: AbortSignal;
  /** Its key or address, which has a share of the feeds. Undefined: unlimited. */
  readonly client: string | undefined;
  readonly seesAll: boolean;
  isLetIn(): boolean;
}

/** A reading as sent: serialized once for all viewers who see the same part of it. */
class Message {
  readonly #reading: Reading;
  readonly #parts = new Map<string, Uint8Array>();

  constructor(reading: Reading) {
    this.#reading = reading;
  }

  bytes(seesAll: boolean, isFirst: boolean): Uint8Array {
    return this.#parts.getOrInsertComputed(`${seesAll} ${isFirst}`, () => {
      const { ofStream, ofAll, history } = this.#reading;
      const data = { ...ofStream, ...(seesAll && ofAll), ...(isFirst && history && { history }) };
      return encoder.encode(`data: ${JSON.stringify(data)}\n\n`);
    });
  }
}

class Viewer {
  readonly #controller: ReadableStreamDefaultController<Uint8Array>;
  readonly #spectator: Spectator;
  #isFirst = true;
  /** Consecutive messages that it did not take. */
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

  /** `desiredSize`: how many more messages fit. */
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

const TIMES = {
  intervalMs: 1_000,
  /** During a long reading, a comment keeps the connection open: proxies close silent ones. */
  silenceMaxMs: 5_000,
};
const BUSY_SHARE = 1 / 20;
const FRESH_INTERVALS = 3;
/** A reading's cost is the minimum of this many readings, since a single one may have had to wait. */
const COST_READINGS = 3;
const MISSED_MAX = 30;

interface FeedHooks {
  /** Never rejects. */
  read(): Promise<Reading>;
  onEnd(): void;
}

class Feed {
  readonly #times: typeof TIMES;
  readonly #hooks: FeedHooks;
  readonly #viewers = new Set<Viewer>();
  readonly #tookMs: number[] = [];
  #latest: Message | undefined;
  #latestMs = 0;
  #next: Timer | undefined;
  #silence: Timer | undefined;

  constructor(times: typeof TIMES, hooks: FeedHooks) {
    this.#times = times;
    this.#hooks = hooks;
  }

  get viewerCount(): number {
    return this.#viewers.size;
  }

  viewersOf(client: string): number {
    return this.#viewers
      .values()
      .filter((viewer) => viewer.client === client)
      .toArray().length;
  }

  add(viewer: Viewer): void {
    this.#viewers.add(viewer);
    if (this.#viewers.size === 1) this.#start();
    else if (this.#latest !== undefined && this.#isFresh) viewer.show(this.#latest);
  }

  get #isFresh(): boolean {
    return performance.now() - this.#latestMs <= FRESH_INTERVALS * this.#times.intervalMs;
  }

  end(viewer: Viewer): void {
    if (!this.#viewers.delete(viewer)) return;
    viewer.end();
    if (this.#viewers.size === 0) {
      clearTimeout(this.#next);
      clearInterval(this.#silence);
    }
    this.#hooks.onEnd();
  }

  endAll(): void {
    for (const viewer of [...this.#viewers]) this.end(viewer);
  }

  #start(): void {
    const keepAlive = () => this.#toAll((viewer) => viewer.send(KEEP_ALIVE));
    this.#silence = setInterval(keepAlive, this.#times.silenceMaxMs);
    void this.#readOn();
  }

  async #readOn(): Promise<void> {
    const startMs = performance.now();
    const reading = await this.#hooks.read();
    if (this.#viewers.size === 0) return;
    const message = new Message(reading);
    this.#latest = message;
    this.#latestMs = startMs;
    this.#toAll((viewer) => viewer.show(message));
    if (this.#viewers.size === 0) return;
    this.#silence?.refresh();
    const { intervalMs } = this.#times;
    const pauseMs = reading.hasFailed ? intervalMs : this.#pauseMs(performance.now() - startMs);
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

const VIEWERS_MAX = 1_000;
const FEEDS_MAX = 100;
export const CLIENT_VIEWERS_MAX = VIEWERS_MAX / 4;
export const CLIENT_FEEDS_MAX = FEEDS_MAX / 4;

/** Never rejects. */
type ReadStream = (stream: string) => Promise<Reading>;

/** "full": no room for another viewer or stream. "share used": no room for this client. */
export type NotWatched = "full" | "share used";

export class LiveFeeds {
  readonly #read: ReadStream;
  readonly #times: typeof TIMES;
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
    return this.#feeds.values().reduce((sum, { viewerCount }) => sum + viewerCount, 0);
  }

  end(): void {
    for (const feed of [...this.#feeds.values()]) feed.endAll();
  }

  /** Server-sent events until the connection is closed, or the spectator loses access or stops reading. */
  watch(stream: string, spectator: Spectator): ReadableStream<Uint8Array> | NotWatched {
    const { client, signal } = spectator;
    if (client !== undefined && !this.#hasRoom(client, stream)) return "share used";
    const existing = this.#feeds.get(stream);
    const isFull = this.viewerCount >= VIEWERS_MAX || (!existing && this.#feeds.size >= FEEDS_MAX);
    if (isFull) return "full";
    const feed = existing ?? this.#newFeed(stream);
    let viewer: Viewer;
    const source = {
      start: (controller: ReadableStreamDefaultController<Uint8Array>) => {
        viewer = new Viewer(controller, spectator);
        feed.add(viewer);
        signal.addEventListener("abort", () => feed.end(viewer), { once: true });
        if (signal.aborted) feed.end(viewer);
      },
      cancel: () => feed.end(viewer),
    };
    // Room for the greeting and the latest message.
    return new ReadableStream<Uint8Array>(source, { highWaterMark: 2 });
  }

  /** So that one client can't take all capacity. */
  #hasRoom(client: string, stream: string): boolean {
    const counts = Array.from(this.#feeds, ([watched, feed]) => [watched, feed.viewersOf(client)] as const);
    const own = counts.filter(([, count]) => count > 0);
    const isWatched = own.some(([watched]) => watched === stream);
    const total = own.reduce((sum, [, count]) => sum + count, 0);
    return total < CLIENT_VIEWERS_MAX && (isWatched || own.length < CLIENT_FEEDS_MAX);
  }

  #newFeed(stream: string): Feed {
    const feed = new Feed(this.#times, {
      read: () => this.#read(stream),
      onEnd: () => {
        if (feed.viewerCount === 0) this.#feeds.delete(stream);
      },
    });
    this.#feeds.set(stream, feed);
    return feed;
  }
}

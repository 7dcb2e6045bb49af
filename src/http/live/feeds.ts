/**
 * The feeds of all watched streams.
 * Invariant: there are at most VIEWERS_MAX viewers and FEEDS_MAX feeds, and at most a quarter of each for one client.
 */
import { Feed, LIVE_TIMES, type LiveTimes, type Reading, type Spectator, Viewer } from "./feed.ts";

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
  readonly #times: LiveTimes;
  readonly #feeds = new Map<string, Feed>();
  readonly #shares = new ClientShares(CLIENT_FEEDS_MAX, CLIENT_VIEWERS_MAX);
  readCount = 0;

  constructor(read: ReadStream, times = LIVE_TIMES) {
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
    if (client !== undefined && !this.#shares.hasRoom(client, stream)) return "share used";
    const existing = this.#feeds.get(stream);
    const isFull = this.viewerCount >= VIEWERS_MAX || (!existing && this.#feeds.size >= FEEDS_MAX);
    if (isFull) return "full";
    const feed = existing ?? this.#newFeed(stream);
    let viewer: Viewer;
    const source = {
      start: (controller: ReadableStreamDefaultController<Uint8Array>) => {
        viewer = new Viewer(controller, spectator);
        if (client !== undefined) this.#shares.take(client, stream);
        feed.add(viewer);
        signal.addEventListener("abort", () => feed.end(viewer), { once: true });
        if (signal.aborted) feed.end(viewer);
      },
      cancel: () => feed.end(viewer),
    };
    // Room for the greeting and the latest message.
    return new ReadableStream<Uint8Array>(source, { highWaterMark: 2 });
  }

  #newFeed(stream: string): Feed {
    const feed = new Feed(this.#times, {
      read: () => this.#read(stream),
      onEnd: ({ client }) => {
        if (client !== undefined) this.#shares.give(client, stream);
        if (feed.viewerCount === 0) this.#feeds.delete(stream);
      },
    });
    this.#feeds.set(stream, feed);
    return feed;
  }
}

/** How many streams each client watches over how many connections, so that one client can't take all capacity. */
class ClientShares {
  readonly #streamsMax: number;
  readonly #connectionsMax: number;
  readonly #connections = new Map<string, Map<string, number>>();

  constructor(streamsMax: number, connectionsMax: number) {
    this.#streamsMax = streamsMax;
    this.#connectionsMax = connectionsMax;
  }

  hasRoom(client: string, stream: string): boolean {
    const byStream = this.#connections.get(client);
    if (byStream === undefined) return true;
    const total = byStream.values().reduce((sum, count) => sum + count, 0);
    return total < this.#connectionsMax && (byStream.has(stream) || byStream.size < this.#streamsMax);
  }

  take(client: string, stream: string): void {
    const byStream = this.#connections.get(client) ?? new Map<string, number>();
    byStream.set(stream, (byStream.get(stream) ?? 0) + 1);
    this.#connections.set(client, byStream);
  }

  give(client: string, stream: string): void {
    const byStream = this.#connections.get(client)!;
    const count = byStream.get(stream)! - 1;
    if (count > 0) byStream.set(stream, count);
    else byStream.delete(stream);
    if (byStream.size === 0) this.#connections.delete(client);
  }
}

/**
 * A client of Hourglass in TypeScript: `fetch` and nothing else, to be copied into a project and cut to size.
 *
 * Every event gets an id, so that a retry is safe: an event that was counted after all counts once. It retries when the
 * service refuses (429, 503), does not know the outcome (504), or the connection breaks. An error without the service's
 * JSON body is like a broken connection: a proxy or the HTTP server itself answered, and nobody knows what was counted.
 *
 *   const hourglass = new Hourglass("http://localhost:7777");
 *   await hourglass.count({ timestamp: Date.now(), user: "ann", event: "click", stream: "shop.spring" });
 *   const { total } = await hourglass.series({ from: "2026-01-31", step: "day", stream: "shop.*" });
 */
export interface HourglassEvent {
  /** Milliseconds since the epoch. */
  readonly timestamp: number;
  readonly user: string;
  readonly event: "click" | "impression";
  readonly stream?: string;
  /** The same id in the same stream counts once within 24 hours. */
  readonly id?: string;
}

export interface Hour {
  readonly uniqueUsers: number;
  readonly clicks: number;
  readonly impressions: number;
}

export interface Sums {
  readonly clicks: number;
  readonly impressions: number;
  /** Clicks per impression. */
  readonly ctr: number | null;
  readonly unique_users: number;
  /** Users with a click, and with an impression; null of hours that an older version stored. */
  readonly unique_clickers: number | null;
  readonly unique_viewers: number | null;
}

export interface SeriesQuestion {
  /** ISO 8601, or milliseconds since the epoch. */
  readonly from: string | number;
  readonly to?: string | number;
  readonly step?: "hour" | "day" | "week" | "month" | "total";
  /** `site.*`: all streams whose names begin with `site.` */
  readonly stream?: string;
  readonly tz?: string;
  readonly exact?: 1;
}

export interface Series {
  readonly from: string;
  readonly to: string;
  readonly rows: readonly ({ readonly from: string; readonly to: string } & Sums)[];
  readonly total: Sums;
}

export interface StreamsQuestion {
  readonly from?: string | number;
  readonly to?: string | number;
  readonly tz?: string;
  readonly order?: "clicks" | "impressions" | "ctr" | "unique_users" | "name";
  readonly limit?: number;
  /** A stream, or a branch such as `shop.*`. */
  readonly stream?: string;
  readonly depth?: number;
}

export interface Streams {
  readonly streams: readonly ({ readonly stream: string; readonly last_hour: string } & Sums)[];
  readonly total: { readonly streams: number } & Sums;
}

/** The first 100 invalid events are listed. */
export interface Batch {
  readonly events: number;
  readonly accepted: number;
  readonly duplicates: number;
  readonly invalid: number;
  readonly refused: number;
  /** Counted once or never: nobody knew yet at the last attempt. */
  readonly unknown: number;
  readonly errors: readonly { readonly index: number; readonly code: string; readonly message: string }[];
}

interface ErrorBody {
  readonly code: string;
  readonly message: string;
  readonly field?: string;
}

/** The request failed, and a retry would not help. */
export class HourglassError extends Error {
  override readonly name = "HourglassError";
  readonly status: number;
  readonly code: string;
  readonly field: string | undefined;
  constructor(status: number, { code, message, field }: ErrorBody) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
  }
}

export interface HourglassOptions {
  /** An API key, if the service asks for one. */
  readonly key?: string;
  readonly attempts?: number;
  /** For each attempt. */
  readonly timeoutMs?: number;
}

/** Not now (503, 429), or nobody knows whether it was counted (504). */
const RETRIED: ReadonlySet<number> = new Set([429, 503, 504]);

type Parameters = Readonly<Record<string, string | number | undefined>>;

export class Hourglass {
  readonly #url: string;
  readonly #key: string | undefined;
  readonly #attempts: number;
  readonly #timeoutMs: number;

  constructor(url: string, { key, attempts = 5, timeoutMs = 15_000 }: HourglassOptions = {}) {
    this.#url = url;
    this.#key = key;
    this.#attempts = attempts;
    this.#timeoutMs = timeoutMs;
  }

  /** Once it resolves, the event is stored and in every answer. */
  async count(event: HourglassEvent): Promise<void> {
    await this.#ask("/analytics", { ...withId(event) }, { method: "POST" });
  }

  /**
   * Up to 10,000. If some were refused, all are sent again: those that had been counted are duplicates then. The
   * answer names the invalid ones.
   */
  async countAll(events: readonly HourglassEvent[]): Promise<Batch> {
    const body = events.map((event) => `${JSON.stringify(withId(event))}\n`).join("");
    const headers = { "content-type": "application/x-ndjson" };
    const answer = await this.#ask("/events", {}, { method: "POST", headers, body });
    return (await answer.json()) as Batch;
  }

  async hour(timestamp: number, stream?: string): Promise<Hour> {
    const text = await (await this.#ask("/analytics", { timestamp, stream })).text();
    const numbers = new Map(text.split("\n").map((line) => line.split(",") as [string, string]));
    const [uniqueUsers, clicks, impressions] = ["unique_users", "clicks", "impressions"].map((name) =>
      Number(numbers.get(name)),
    ) as [number, number, number];
    return { uniqueUsers, clicks, impressions };
  }

  async series(question: SeriesQuestion): Promise<Series> {
    const answer = await this.#ask("/series", { ...question, format: "json" });
    return (await answer.json()) as Series;
  }

  async streams(question: StreamsQuestion = {}): Promise<Streams> {
    const answer = await this.#ask("/streams", { ...question, format: "json" });
    return (await answer.json()) as Streams;
  }

  async #ask(path: string, parameters: Parameters, init: RequestInit = {}): Promise<Response> {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, `${value}`);
    for (let attempt = 1; ; attempt++) {
      const isLast = attempt === this.#attempts;
      const answer = await this.#try(`${this.#url}${path}?${query}`, init, isLast);
      const isDone = answer !== undefined && (isLast || !isRetried(answer));
      if (isDone && answer.ok) return answer;
      const error = isDone ? await errorOf(answer) : undefined;
      if (isDone && (isLast || error !== undefined)) {
        throw new HourglassError(
          answer.status,
          error ?? { code: "unknown", message: `answered with ${answer.status}` },
        );
      }
      // A proxy may send a date.
      const waitS = Number(answer?.headers.get("retry-after") ?? 1);
      await new Promise((resolve) => setTimeout(resolve, 1_000 * (Number.isNaN(waitS) ? 1 : waitS)));
    }
  }

  /** Undefined if there was no answer. */
  async #try(url: string, init: RequestInit, isLast: boolean): Promise<Response | undefined> {
    try {
      const headers = new Headers(init.headers);
      if (this.#key !== undefined) headers.set("authorization", `Bearer ${this.#key}`);
      return await fetch(url, { ...init, headers, signal: AbortSignal.timeout(this.#timeoutMs) });
    } catch (error) {
      if (isLast) throw error;
      return undefined;
    }
  }
}

/** A 207 without `retry-after` names invalid events alone: sending those again changes nothing. */
function isRetried({ status, headers }: Response): boolean {
  return RETRIED.has(status) || (status === 207 && headers.has("retry-after"));
}

function withId(event: HourglassEvent): HourglassEvent {
  return event.id === undefined ? { ...event, id: crypto.randomUUID() } : event;
}

/** Undefined if the service itself did not answer this. */
async function errorOf(answer: Response): Promise<ErrorBody | undefined> {
  try {
    return ((await answer.json()) as { error?: ErrorBody }).error;
  } catch {
    return undefined;
  }
}

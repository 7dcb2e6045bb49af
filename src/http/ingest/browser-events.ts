/**
 * Events from browsers, by pixel, beacon or redirect. Time and user default to now and a pseudonym. Depending on the
 * settings, browsers that ask not to be counted are not.
 */
import { isbot } from "isbot";
import type { OmissionReason, Outcome } from "../../domain/refusal-reasons.ts";
import { DEFAULT_STREAM, StreamSet } from "../../domain/stream-rules.ts";
import { eventOf } from "../../protocol/event/from-query.ts";
import { withIdempotencyKey } from "../../protocol/event/idempotency-key.ts";
import { checkStream, TooManyStreamsError } from "../../protocol/input-error.ts";
import type { Query } from "../../protocol/query-string.ts";
import type { Peers } from "../requests/client-address.ts";
import type { AppOptions, BrowserSettings } from "../route-options.ts";
import { Pseudonyms } from "./visitor-pseudonyms.ts";

/** Deliberately not counted: a retry would not help. */
export interface Omission {
  readonly reason: OmissionReason;
}

interface Visit {
  readonly headers: Headers;
  /** Undefined if the connection is already closed. */
  readonly address: string | undefined;
}

/** Pages can't keep keys secret. If counting requires keys, pages count only in the streams of BROWSER_STREAMS. */
function allowedStreams({ browserStreams, requiredScopes }: BrowserSettings): StreamSet | undefined {
  if (browserStreams !== undefined) return new StreamSet(browserStreams);
  return requiredScopes?.includes("write") ? new StreamSet([]) : undefined;
}

export class BrowserEvents {
  readonly #options: AppOptions;
  readonly #pseudonyms: Pseudonyms;
  readonly #allowed: StreamSet | undefined;

  constructor(options: AppOptions) {
    this.#options = options;
    this.#pseudonyms = new Pseudonyms(options.browserSettings.userSalt);
    this.#allowed = allowedStreams(options.browserSettings);
  }

  /** Call it before awaiting anything: a closed connection has no address. */
  visitOf(request: Request, peers: Peers | null): Visit {
    return { headers: request.headers, address: this.#options.addresses.of(request, peers) };
  }

  /**
   * Returns why the event is not counted; undefined if it is stored. Throws InvalidParameterError. `key`: the header
   * Idempotency-Key.
   */
  async take(query: Query, visit: Visit, key: string | null = null): Promise<Outcome | Omission> {
    const { pipeline, now } = this.#options;
    const reason = this.#omissionOf(visit);
    if (reason !== undefined) {
      pipeline.ledger.omitted[reason] += 1;
      return { reason };
    }
    const time = now();
    const { user = this.#pseudonymOf(visit, query["stream"], time) } = query;
    const sent = eventOf({ ...query, user }, time, pipeline.retention.earliestAccepted(time));
    // A browser whose clock is ahead must not fill future hours.
    const atLatest = { ...sent, at: Math.min(sent.at, time) };
    const event = key === null ? atLatest : withIdempotencyKey(atLatest, key);
    checkStream(event.stream, this.#allowed);
    if (!pipeline.streams.reserve(event.stream)) throw new TooManyStreamsError(event.stream);
    try {
      return await pipeline.submit(event);
    } finally {
      pipeline.streams.release(event.stream);
    }
  }

  #omissionOf({ headers }: Visit): OmissionReason | undefined {
    const { isDntRespected, isBotFiltered } = this.#options.browserSettings;
    if (isDntRespected && (headers.get("dnt") === "1" || headers.get("sec-gpc") === "1")) return "do_not_track";
    return isBotFiltered && isbot(headers.get("user-agent")) ? "bot" : undefined;
  }

  #pseudonymOf({ headers, address }: Visit, stream = DEFAULT_STREAM, time: number): string | undefined {
    return address && this.#pseudonyms.of(address, headers.get("user-agent") ?? "", stream, time);
  }
}

/**
 * Reads one message of GET /live: a stream's counts and the state of the service.
 * Invariant: an unavailable store is reported in the message, never thrown; the other store is still read.
 */
import { HOUR_MS, type HourCounts, hourOf } from "../../domain/event.ts";
import { Steps } from "../../domain/time-steps.ts";
import { TimeZone } from "../../domain/time-zone.ts";
import { SeriesTally } from "../../pipeline/read/series-tally.ts";
import { errorText } from "../../runtime/error-text.ts";
import { SlotsFullError } from "../../runtime/slots.ts";
import type { StoreWatch } from "../../store/store-watch.ts";
import { StoreUnavailableError } from "../../store/unavailable-error.ts";
import { instanceLedger, storesLedger } from "../ops/ledger-route.ts";
import { sourceState } from "../ops/probes.ts";
import { ctrOf } from "../query/range-requests.ts";
import type { AppOptions } from "../route-options.ts";
import type { Reading } from "./feeds.ts";

/** The ledger of all instances takes the stores four statements, so it is read less often. */
const STORES_INTERVAL_MS = 2_000;
const RECENT_STREAMS_MAX = 100;
const RECENT_MS = 60_000;
const RECENT_INTERVAL_MIN_MS = 900;

interface Hour extends HourCounts {
  readonly isDegraded: boolean;
}

export const UNAVAILABLE_REASONS = ["hot_store_away", "cold_store_away", "overloaded", "internal"] as const;

type UnavailableReason = (typeof UNAVAILABLE_REASONS)[number];

type HistoryPoint = { readonly at: string } & ReturnType<typeof sumsOf>;

export class LiveReader {
  readonly #options: AppOptions;
  readonly #zone = TimeZone.named("UTC")!;
  readonly #recent = new RecentHours();
  #stores: Awaited<ReturnType<typeof storesLedger>> | undefined;
  #storesAskedMs = Number.NEGATIVE_INFINITY;
  #isAskingStores = false;
  #isFailing = false;

  constructor(options: AppOptions) {
    this.#options = options;
  }

  /** Never rejects. `stream`: as in /series. */
  async read(stream: string): Promise<Reading> {
    const { now, pipeline, sources } = this.#options;
    void this.#askStores();
    const at = now();
    const from = hourOf(at);
    const found = await this.#readHour(stream, from);
    const sums = typeof found === "string" ? null : sumsOf(found);
    const [fromText, toText] = [from, from + HOUR_MS].map((hour) => this.#zone.textOf(hour));
    const isDegraded = typeof found !== "string" && found.isDegraded;
    const ofStream = {
      at: new Date(at).toISOString(),
      stream,
      hour: sums && { from: fromText, to: toText, ...sums },
      ...(isDegraded && { degraded: "hot-store-away" }),
      ...(typeof found === "string" && { unavailable: found }),
      ...this.#health(at, found === "hot_store_away" || isDegraded, found === "cold_store_away"),
    };
    const ofAll = {
      ledger: { instance: instanceLedger(pipeline), stores: this.#stores ?? null },
      ...(sources.length > 0 && { sources: sources.map(sourceState) }),
    };
    const history = sums === null ? [] : this.#recent.add(stream, from, { at: ofStream.at, ...sums });
    return { ofStream, ofAll, history, hasFailed: sums === null };
  }

  /** The state of each store depends only on calls to that store. */
  #health(at: number, isHotMissed: boolean, isColdMissed: boolean) {
    const { refusal, coldStoreError, storeNames } = this.#options.pipeline;
    const missed = this.#stores !== undefined && "unavailable" in this.#stores && this.#stores.unavailable;
    const isHotAway = isHotMissed || refusal === "hot_store_away" || missed === "hot_store_away";
    const isColdAway = isColdMissed || coldStoreError !== undefined || missed === "cold_store_away";
    return {
      ...(refusal !== undefined && { refusal }),
      hot_store: { name: storeNames.hot, ...this.#state("hot", isHotAway, at) },
      cold_store: {
        name: storeNames.cold,
        ...this.#state("cold", isColdAway, at),
        ...(coldStoreError !== undefined && { error: coldStoreError }),
      },
    };
  }

  #state(name: StoreWatch["name"], isAway: boolean, at: number) {
    if (!isAway) return { status: "ok" };
    const watches = this.#options.stores?.filter((watch) => watch.name === name) ?? [];
    const awayMs = Math.max(...watches.map((watch) => watch.unavailableMs ?? 0));
    return { status: "away", ...(awayMs > 0 && { since: new Date(at - awayMs).toISOString() }) };
  }

  async #readHour(stream: string, from: number): Promise<Hour | UnavailableReason> {
    try {
      const hour = await (stream.endsWith("*")
        ? this.#readBranch(stream.slice(0, -1), from)
        : this.#options.pipeline.read({ stream, hour: from }));
      this.#isFailing = false;
      return hour;
    } catch (error) {
      return this.#reasonOf(error);
    }
  }

  async #readBranch(prefix: string, from: number): Promise<Hour> {
    const to = from + HOUR_MS;
    const range = { from, to, streams: { text: prefix, isPrefix: true } };
    const steps = new Steps({ from, to, step: "total", zone: this.#zone });
    const { tally, isDegraded } = await this.#options.pipeline.shortRanges.read(range, () => new SeriesTally(steps));
    return { ...tally.total(), isDegraded };
  }

  #reasonOf(error: unknown): UnavailableReason {
    if (error instanceof StoreUnavailableError) return error.reason;
    if (error instanceof SlotsFullError) return "overloaded";
    // It may fail every second, so it is logged once.
    if (!this.#isFailing) this.#options.log.error({ error: errorText(error) }, "a live reading failed");
    this.#isFailing = true;
    return "internal";
  }

  /** Runs in the background, for all feeds: a slow store does not delay messages. */
  async #askStores(): Promise<void> {
    const nowMs = performance.now();
    if (this.#isAskingStores || nowMs - this.#storesAskedMs < STORES_INTERVAL_MS) return;
    this.#isAskingStores = true;
    this.#storesAskedMs = nowMs;
    try {
      this.#stores = await storesLedger(this.#options.pipeline);
    } catch (error) {
      this.#reasonOf(error);
      this.#stores = undefined;
    } finally {
      this.#isAskingStores = false;
    }
  }
}

function sumsOf({ clicks, impressions, uniqueUsers }: HourCounts) {
  return { clicks, impressions, ctr: ctrOf({ clicks, impressions }), unique_users: uniqueUsers };
}

interface RecentHour {
  readonly hour: number;
  readonly points: { readonly atMs: number; readonly point: HistoryPoint }[];
}

/**
 * Readings of the last minute by stream, so that a page shows them at once when opened or reloaded.
 * Invariant: at most RECENT_STREAMS_MAX streams, with readings of one hour, at most one a second.
 */
class RecentHours {
  readonly #streams = new Map<string, RecentHour>();

  /** Adds a point, and returns the earlier points of the same hour within the last minute. */
  add(stream: string, hour: number, point: HistoryPoint): HistoryPoint[] {
    const atMs = Date.parse(point.at);
    const known = this.#streams.get(stream);
    const points = known?.hour === hour ? known.points : [];
    const retained = points.filter((each) => each.atMs > atMs - RECENT_MS);
    const earlier = retained.map((each) => each.point);
    if (atMs - (retained.at(-1)?.atMs ?? 0) >= RECENT_INTERVAL_MIN_MS) retained.push({ atMs, point });
    this.#streams.delete(stream);
    this.#streams.set(stream, { hour, points: retained });
    if (this.#streams.size > RECENT_STREAMS_MAX) this.#streams.delete(this.#streams.keys().next().value!);
    return earlier;
  }
}

/** Generates events like those of a busy site: a few streams, more by day than by night, with returning visitors. */
interface DemoStream {
  readonly name: string;
  /** Impressions in a second at the busiest time. */
  readonly perSecond: number;
  readonly ctr: number;
  readonly visitors: number;
}

interface DemoEvent {
  readonly timestamp: number;
  readonly user: string;
  readonly event: "click" | "impression";
  readonly stream: string;
}

const HOUR_MS = 3_600_000;
const EVENTS_MAX = 10_000;
/** The site has grown by a factor of e in so many hours: or its first weeks would take long to make up. */
const GROWTH_HOURS = 6 * 24;
/** Below that a stream has not begun. */
const FIRST_EVENTS = 0.5;
const STREAMS: readonly DemoStream[] = [
  { name: "shop.spring-sale", perSecond: 1.4, ctr: 0.09, visitors: 2_900 },
  { name: "shop.checkout", perSecond: 0.5, ctr: 0.24, visitors: 900 },
  { name: "news.front-page", perSecond: 2.1, ctr: 0.06, visitors: 5_200 },
  { name: "news.sports", perSecond: 0.9, ctr: 0.08, visitors: 2_100 },
  { name: "ads.banner-top", perSecond: 1.7, ctr: 0.021, visitors: 6_800 },
  { name: "ads.sidebar", perSecond: 0.8, ctr: 0.012, visitors: 3_400 },
  { name: "newsletter", perSecond: 0.25, ctr: 0.31, visitors: 600 },
];

export class DemoTraffic {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** Hours of the past, the latest first: from `newest` hours ago (0: this one) to before `oldest`. */
  async fillPast(newest: number, oldest: number, signal: AbortSignal): Promise<void> {
    const now = Date.now();
    const thisHour = now - (now % HOUR_MS);
    for (let i = newest; i < oldest; i++) {
      const from = thisHour - i * HOUR_MS;
      const to = Math.min(from + HOUR_MS, now);
      const grown = Math.exp(-i / GROWTH_HOURS);
      const events = STREAMS.flatMap((stream) => eventsOf(stream, from, to, grown));
      await this.#send(events, signal);
    }
  }

  /** Until `signal` is aborted. */
  async goOn(tickMs: number, signal: AbortSignal): Promise<void> {
    for (let from = Date.now(); !signal.aborted; ) {
      await Bun.sleep(tickMs);
      const to = Date.now();
      const events = STREAMS.flatMap((stream) => eventsOf(stream, from, to, rush(stream, to)));
      // Refusals while a store is unavailable are part of what the demo shows.
      await this.#send(events, signal).catch(() => {});
      from = to;
    }
  }

  async #send(events: readonly DemoEvent[], signal: AbortSignal): Promise<void> {
    if (events.length === 0) return;
    for (let start = 0; start < events.length; start += EVENTS_MAX) {
      const body = events.slice(start, start + EVENTS_MAX).map((event) => `${JSON.stringify(event)}\n`);
      const answer = await fetch(`${this.#url}/events`, {
        method: "POST",
        headers: { "content-type": "application/x-ndjson" },
        body: body.join(""),
        signal,
      });
      await answer.body?.cancel();
    }
  }
}

function eventsOf(stream: DemoStream, from: number, to: number, factor: number): DemoEvent[] {
  const mean = stream.perSecond * activity(stream, from) * factor * ((to - from) / 1_000);
  const isHour = to - from > HOUR_MS / 2;
  const impressions = isHour && mean < FIRST_EVENTS ? 0 : around(mean);
  return Array.from({ length: impressions }, () => {
    const timestamp = from + Math.floor(Math.random() * (to - from));
    // Few come often, and many once.
    const user = `visitor-${Math.floor(stream.visitors * Math.random() ** 1.7)}`;
    const event = { timestamp, user, event: "impression", stream: stream.name } as const;
    return Math.random() < stream.ctr ? [event, { ...event, event: "click" } as const] : [event];
  }).flat();
}

/** From 0.2 to 1.2: follows the time of day, is lower at weekends, and has slow waves. */
function activity({ name }: DemoStream, at: number): number {
  const phase = name.length / 3;
  const hour = (at / HOUR_MS) % 24;
  const daily = 0.6 - 0.4 * Math.cos(((hour - 3 - phase / 4) / 24) * 2 * Math.PI);
  const day = new Date(at).getUTCDay();
  const weekly = day === 0 || day === 6 ? 0.72 : 1;
  return daily * weekly * (1 + 0.15 * Math.sin(at / (31 * HOUR_MS) + phase));
}

/** Waves within a minute, so that there is something to see; 1 on average. */
function rush({ name }: DemoStream, at: number): number {
  const phase = name.length;
  return 1 + 0.6 * Math.sin(at / 7_000 + phase) + 0.3 * Math.sin(at / 2_300 + phase);
}

/** A whole number that is near, as counts of chance are: about a Poisson distribution. */
function around(mean: number): number {
  const noise = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const drawn = mean + noise * Math.sqrt(mean);
  return Math.max(0, Math.floor(drawn + Math.random()));
}

/**
 * What was read of streams in the last minute: a page that is opened, or opened again, shows it at once.
 * Invariant: at most STREAMS_MAX streams, with the readings of one hour, at most one a second.
 */
const STREAMS_MAX = 100;
const RETAINED_MS = 60_000;
const INTERVAL_MIN_MS = 900;

interface Point {
  readonly at: string;
}

interface Recent<P> {
  readonly hour: number;
  readonly points: { readonly atMs: number; readonly point: P }[];
}

export class RecentHours<P extends Point> {
  /** The stream that was read last comes last. */
  readonly #streams = new Map<string, Recent<P>>();

  /** The earlier points of this hour, of the last minute; this one is added to them. */
  add(stream: string, hour: number, point: P): P[] {
    const atMs = Date.parse(point.at);
    const known = this.#streams.get(stream);
    const points = known?.hour === hour ? known.points : [];
    const retained = points.filter((each) => each.atMs > atMs - RETAINED_MS);
    const earlier = retained.map((each) => each.point);
    if (atMs - (retained.at(-1)?.atMs ?? 0) >= INTERVAL_MIN_MS) retained.push({ atMs, point });
    this.#streams.delete(stream);
    this.#streams.set(stream, { hour, points: retained });
    if (this.#streams.size > STREAMS_MAX) this.#streams.delete(this.#streams.keys().next().value!);
    return earlier;
  }
}

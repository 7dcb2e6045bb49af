/**
 * A time zone (IANA): what its clocks show, and when. A local time is written as the number that it would be in ms
 * since the epoch if the zone were UTC.
 *
 * The rules are those of Temporal. What is added here is a cache by day: a lookup takes 4 to 6 µs, and an hourly series
 * needs 10,000 of them.
 */
import { DAY_MS, HOUR_MS } from "./event.ts";

/** The offsets from UTC of all zones are multiples of it since 1980, when Kiritimati left -10:40. */
export const QUARTER_MS = HOUR_MS / 4;

export class TimeZone {
  readonly name: string;
  /** The offset of each UTC day that was looked up; undefined if it changes within the day. */
  readonly #days = new Map<number, number | undefined>();

  private constructor(name: string) {
    this.name = name;
  }

  static named(name: string): TimeZone | undefined {
    try {
      // Not Temporal, which would also take a time that ends with a zone.
      new Intl.DateTimeFormat("en-US", { timeZone: name });
      return new TimeZone(name);
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }

  /** To be added to UTC, in ms. */
  offsetMsAt(at: number): number {
    const day = Math.floor(at / DAY_MS) * DAY_MS;
    if (!this.#days.has(day)) {
      // No day has ever had two changes that cancel each other out.
      const [first, last] = [this.#lookUp(day), this.#lookUp(day + DAY_MS)];
      this.#days.set(day, first === last ? first : undefined);
    }
    return this.#days.get(day) ?? this.#lookUp(at);
  }

  #lookUp(at: number): number {
    return Temporal.Instant.fromEpochMilliseconds(at).toZonedDateTimeISO(this.name).offsetNanoseconds / 1e6;
  }

  /**
   * When clocks show this. The earlier time if they show it twice. If they skip it, as much later as they
   * skip: of a day without midnight its first instant.
   */
  instantOf(local: number): number {
    const shown = Temporal.Instant.fromEpochMilliseconds(local).toZonedDateTimeISO("UTC").toPlainDateTime();
    return shown.toZonedDateTime(this.name).epochMilliseconds;
  }

  /** True if all its local hours, and so its days, begin at UTC hours throughout this time. */
  hasWholeHours(from: number, to: number): boolean {
    return this.#hasWhole(HOUR_MS, from, to);
  }

  hasWholeQuarters(from: number, to: number): boolean {
    return this.#hasWhole(QUARTER_MS, from, to);
  }

  #hasWhole(unitMs: number, from: number, to: number): boolean {
    for (let at = from; at < to; at += DAY_MS) if (this.offsetMsAt(at) % unitMs !== 0) return false;
    return this.offsetMsAt(to) % unitMs === 0;
  }

  /** When the local hour of this time began; of one in which clocks changed, when it would have begun without that. */
  floorHour(at: number): number {
    const local = at + this.offsetMsAt(at);
    return at - (local - Math.floor(local / HOUR_MS) * HOUR_MS);
  }

  /** ISO 8601 to the second, with the offset from UTC that holds then. */
  textOf(at: number): string {
    const offsetMs = this.offsetMsAt(at);
    const local = new Date(at + offsetMs).toISOString().slice(0, 19);
    if (offsetMs === 0) return `${local}Z`;
    const offset = new Date(Math.abs(offsetMs)).toISOString().slice(11, 16);
    return `${local}${offsetMs < 0 ? "-" : "+"}${offset}`;
  }
}

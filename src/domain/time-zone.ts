/**
 * What clocks show in a time zone (IANA), and when. A local time is written as the number that it would be in
 * ms since the epoch if the zone were UTC.
 *
 * Invariant: offsets are those of the zone's rules at each hour, also where they change within a day.
 */
import { DAY_MS, HOUR_MS } from "./event.ts";

/** "GMT", or "GMT+05:30", or "GMT-00:44:30" (Liberia, until 1972). */
const OFFSET = /GMT(?:([+-])(\d{2}):(\d{2})(?::(\d{2}))?)?$/;

export class TimeZone {
  readonly name: string;
  readonly #format: Intl.DateTimeFormat;
  /** Of each UTC day that was asked for: its offset, or undefined if that changes within it. */
  readonly #days = new Map<number, number | undefined>();

  private constructor(name: string, format: Intl.DateTimeFormat) {
    this.name = name;
    this.#format = format;
  }

  /** Undefined if no zone has this name. */
  static named(name: string): TimeZone | undefined {
    try {
      return new TimeZone(
        name,
        new Intl.DateTimeFormat("en-US", { timeZone: name, timeZoneName: "longOffset" }),
      );
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }

  /** What is to be added to UTC, in ms. */
  offsetMsAt(at: number): number {
    const day = Math.floor(at / DAY_MS) * DAY_MS;
    if (!this.#days.has(day)) {
      // Two changes within one day that take each other back: there has been no such day.
      const [first, last] = [this.#lookUp(day), this.#lookUp(day + DAY_MS)];
      this.#days.set(day, first === last ? first : undefined);
    }
    return this.#days.get(day) ?? this.#lookUp(at);
  }

  /** 3 µs: an hourly series would ask it 10,000 times, hence the days. */
  #lookUp(at: number): number {
    const [, sign, hours = "0", minutes = "0", seconds = "0"] = OFFSET.exec(this.#format.format(at)) ?? [];
    const offsetMs = ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000;
    return sign === "-" ? -offsetMs : offsetMs;
  }

  /**
   * When clocks show this. The earlier time if they show it twice. If they skip it, as much later as they
   * skip: of a day without midnight its first instant.
   */
  instantOf(local: number): number {
    const [before, after] = [this.offsetMsAt(local - DAY_MS), this.offsetMsAt(local + DAY_MS)];
    const shown = [local - before, local - after].filter((at) => at + this.offsetMsAt(at) === local);
    return shown.length === 0 ? local - before : Math.min(...shown);
  }

  /** True if all its local hours, and so its days, begin at UTC hours throughout this time. */
  hasWholeHours(from: number, to: number): boolean {
    for (let at = from; at < to; at += DAY_MS) if (this.offsetMsAt(at) % HOUR_MS !== 0) return false;
    return this.offsetMsAt(to) % HOUR_MS === 0;
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

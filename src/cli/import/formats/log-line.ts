/** A request in a log, and helpers shared by the readers of logs. */

import type { TimeZone } from "../../../domain/time-zone.ts";
import { existingTime, instantAt, timeOf } from "../../../protocol/time-text.ts";

export interface LogLine {
  readonly user: string;
  readonly at: number;
  /** Undefined if the client sent none, or the log has none. */
  readonly referrer: string | undefined;
  readonly method: string | undefined;
  readonly path: string | undefined;
  readonly status: string | undefined;
  readonly agent: string | undefined;
}

/** Undefined if the line is malformed; "none" if it is not a request. */
export type ReadLine = (text: string) => LogLine | "none" | undefined;

export type LogParts = Readonly<Partial<Record<Exclude<keyof LogLine, "at"> | "time" | "request", string>>>;

export const QUOTED = '"([^"\\\\]*(?:\\\\.[^"\\\\]*)*)"';
const TIME = /^(\d\d)\/([A-Z][a-z]{2})\/(\d{4}):(\d\d:\d\d:\d\d) ([+-])(\d\d)([0-5]\d)$/;
const ANY_TIME = /\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}/;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SECONDS = /^\d{9,10}(\.\d+)?$/;
const IPV4_WITH_PORT = /^(\d{1,3}(?:\.\d{1,3}){3}):\d+$/;
const IPV6_IN_BRACKETS = /^\[([^\]]+)\](?::\d+)?$/;

/** Parses times of logs, with a cache, since most lines repeat the previous time. */
export class LogTimes {
  readonly #zone: TimeZone | undefined;
  #text = "";
  #time: number | undefined;

  /** `zone`: for times without an offset; undefined: refuse them. */
  constructor(zone: TimeZone | undefined) {
    this.#zone = zone;
  }

  /** Parses 17/May/2015:10:05:03 +0000, ISO 8601, and seconds or milliseconds since the epoch. */
  of(text: string): number | undefined {
    if (text !== this.#text) {
      this.#text = text;
      this.#time = SECONDS.test(text) ? Math.round(Number(text) * 1_000) : (logTime(text) ?? timeOf(text, this.#zone));
    }
    return this.#time;
  }
}

function logTime(text: string): number | undefined {
  const [, day, month, year, time, sign, hours, minutes] = TIME.exec(text) ?? [];
  if (time === undefined) return undefined;
  const monthNumber = String(MONTHS.indexOf(month!) + 1).padStart(2, "0");
  const local = existingTime(`${year}-${monthNumber}-${day}T${time}.000Z`);
  return local === undefined ? undefined : instantAt(local, sign!, hours!, minutes!);
}

/** Why a malformed line is none if its time does not exist, such as 31/Feb. */
export function missingTime(line: string): string | undefined {
  const text = ANY_TIME.exec(line)?.[0];
  return text === undefined || logTime(text) !== undefined ? undefined : `there is no such time: ${text}`;
}

/** Undefined if time or client is missing. */
export function lineOf(parts: LogParts, times: LogTimes): LogLine | undefined {
  const { user, time, request, referrer, agent, status } = parts;
  const at = time === undefined ? undefined : times.of(time);
  if (at === undefined || !given(user)) return undefined;
  const [method, path] = request === undefined ? [parts.method, parts.path] : request.split(" ", 2);
  return {
    ...{ user: withoutPort(user!), at, method, path, status, agent: given(agent) },
    referrer: given(referrer),
  };
}

function given(text: string | undefined): string | undefined {
  return text === "-" || text === "" ? undefined : text;
}

/** The client's address, without its port and the proxies' addresses after it. */
export function withoutPort(text: string): string {
  const comma = text.indexOf(",");
  const first = comma === -1 ? text : text.slice(0, comma);
  return IPV4_WITH_PORT.exec(first)?.[1] ?? IPV6_IN_BRACKETS.exec(first)?.[1] ?? first;
}

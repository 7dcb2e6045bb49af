/**
 * A line of an access log in the common or the combined format, which all web servers can write.
 *
 * Invariant: a line that was cut off before its referrer ends, or that has a field more in front (the virtual
 * host), is no line: it would be counted for another user, or as another kind.
 */
import { existingTime, instantAt } from "../../domain/iso-time.ts";

export interface LogLine {
  readonly user: string;
  readonly at: number;
  /** Undefined in the common format, and where the client sent none. */
  readonly referrer: string | undefined;
}

const QUOTED = '"([^"\\\\]*(?:\\\\.[^"\\\\]*)*)"';
// Address, identity, user, time, request, status, bytes; in the combined format referrer and agent; then anything.
const LINE = new RegExp(
  `^(\\S+) \\S+ \\S+ \\[([^\\]]+)\\] ${QUOTED} \\d{3} (?:\\d+|-)(?: ${QUOTED}(?: ${QUOTED})?(?: .*)?| [^"].*)?$`,
);
const TIME = /^(\d\d)\/([A-Z][a-z]{2})\/(\d{4}):(\d\d:\d\d:\d\d) ([+-])(\d\d)([0-5]\d)$/;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Reads line after line: most have the time of the one before. */
export class LogLines {
  #timeText = "";
  #time: number | undefined;

  /** Undefined if it is none. */
  read(text: string): LogLine | undefined {
    const [, user, time, , referrer] = LINE.exec(text) ?? [];
    if (user === undefined || time === undefined) return undefined;
    if (time !== this.#timeText) {
      this.#timeText = time;
      this.#time = timeOf(time);
    }
    if (this.#time === undefined) return undefined;
    const isDirect = referrer === undefined || referrer === "-" || referrer === "";
    return { user, at: this.#time, referrer: isDirect ? undefined : referrer };
  }
}

/** 17/May/2015:10:05:03 +0000 */
function timeOf(text: string): number | undefined {
  const [, day, month, year, time, sign, hours, minutes] = TIME.exec(text) ?? [];
  if (time === undefined) return undefined;
  const monthNumber = String(MONTHS.indexOf(month!) + 1).padStart(2, "0");
  const local = existingTime(`${year}-${monthNumber}-${day}T${time}.000Z`);
  return local === undefined ? undefined : instantAt(local, sign!, hours!, minutes!);
}

/** Reads access logs of AWS Application Load Balancers, which have no referrer. */
import { type LogTimes, lineOf, QUOTED, type ReadLine } from "./log-line.ts";

/** Type, time, balancer, client:port, target, three durations, status, target's status, two sizes, request, agent. */
const LINE = new RegExp(
  "^(?:https?|h2|grpcs|wss?) (\\d{4}-\\S+) \\S+ (\\S+):\\d+ \\S+(?: \\S+){3} (\\d{3}|-)(?: \\S+){3} " +
    `${QUOTED} ${QUOTED} `,
);
const ORIGIN = /^[a-z]+:\/\/[^/]*/;

export function albReader(times: LogTimes): ReadLine {
  return (text) => {
    const [, time, user, status, request = "", agent] = LINE.exec(text) ?? [];
    if (time === undefined) return undefined;
    const [method, url = ""] = request.split(" ", 2);
    const parts = { time, user, status, method, path: url.replace(ORIGIN, ""), agent };
    return lineOf(parts as Record<string, string>, times);
  };
}

/**
 * Reads access logs in the common or combined format, with the variations of real servers: a leading virtual host, a
 * list of addresses, a user that is empty, quoted, or contains spaces.
 *
 * Invariant: a line truncated before the end of its referrer is refused, since it could count as the wrong kind.
 */
import { isIP } from "node:net";
import { type LogTimes, lineOf, QUOTED, type ReadLine, withoutPort } from "./log-line.ts";

const TIME_AND_REQUEST = /\[(\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] (?=")/;
/** Request, status, bytes; in the combined format referrer and agent; then anything. */
const REST = new RegExp(`^${QUOTED} (\\d{3}) (?:\\d+|-)(?: ${QUOTED}(?: ${QUOTED})?(?: .*)?| [^"].*)?$`);
/** An address, no identity, a user without spaces. */
const PLAIN_CLIENT = /^([^\s,:]+) - \S+ $/;
const HOST_AND_PORT = /^[^\s:]+:\d+$/;

export function accessLogReader(times: LogTimes): ReadLine {
  return (text) => {
    const found = TIME_AND_REQUEST.exec(text);
    if (found === null) return undefined;
    const rest = REST.exec(text.slice(found.index + found[0].length));
    if (rest === null) return undefined;
    const before = text.slice(0, found.index);
    const user = PLAIN_CLIENT.exec(before)?.[1] ?? clientOf(before);
    const [, request, status, referrer, agent] = rest as unknown as string[];
    return lineOf({ user, time: found[1], request, status, referrer, agent } as Record<string, string>, times);
  };
}

/** `before`: [virtual host] client[, proxy …] identity user */
function clientOf(before: string): string | undefined {
  const fields = before.split(" ").filter((field) => field !== "");
  const addresses = fields.findIndex((field) => !field.endsWith(","));
  if (fields.length < addresses + 2) return undefined;
  const [first = "", second = ""] = fields;
  const isVirtualHost = fields.length > 3 && isIP(withoutPort(first)) === 0 && isAddress(second, first);
  return isVirtualHost ? second : first;
}

function isAddress(field: string, hostBefore: string): boolean {
  return isIP(withoutPort(field)) !== 0 || (HOST_AND_PORT.test(hostBefore) && field !== "-");
}

/** Reads access logs as the usual servers and balancers write them, one line of text a request. */
import { isIP } from "node:net";
import { type LogTimes, lineOf, QUOTED, type ReadLine, withoutPort } from "./log-line.ts";

const TIME_AND_REQUEST = /\[(\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] (?=")/;
/** Request, status, bytes; in the combined format referrer and agent; then anything. */
const REST = new RegExp(`^${QUOTED} (\\d{3}) (?:\\d+|-)(?: ${QUOTED}(?: ${QUOTED})?(?: .*)?| [^"].*)?$`);
/** An address, no identity, a user without spaces. */
const PLAIN_CLIENT = /^([^\s,:]+) - \S+ $/;
const HOST_AND_PORT = /^[^\s:]+:\d+$/;

/**
 * Reads the common or combined format, with the variations of real servers: a leading virtual host, a list of
 * addresses, a user that is empty, quoted, or contains spaces.
 *
 * Invariant: a line truncated before the end of its referrer is refused, since it could count as the wrong kind.
 */
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

/** Type, time, balancer, client:port, target, three durations, status, target's status, two sizes, request, agent. */
const ALB_LINE = new RegExp(
  "^(?:https?|h2|grpcs|wss?) (\\d{4}-\\S+) \\S+ (\\S+):\\d+ \\S+(?: \\S+){3} (\\d{3}|-)(?: \\S+){3} " +
    `${QUOTED} ${QUOTED} `,
);
const ORIGIN = /^[a-z]+:\/\/[^/]*/;

/** Reads logs of AWS Application Load Balancers, which have no referrer. */
export function albReader(times: LogTimes): ReadLine {
  return (text) => {
    const [, time, user, status, request = "", agent] = ALB_LINE.exec(text) ?? [];
    if (time === undefined) return undefined;
    const [method, url = ""] = request.split(" ", 2);
    const parts = { time, user, status, method, path: url.replace(ORIGIN, ""), agent };
    return lineOf(parts as Record<string, string>, times);
  };
}

const W3C_FIELDS = /^#Fields:\s*/i;

/** Undefined if the line names no fields. */
export function w3cFields(line: string): string[] | undefined {
  return W3C_FIELDS.test(line) ? line.replace(W3C_FIELDS, "").trim().toLowerCase().split(/\s+/) : undefined;
}

/**
 * Reads W3C extended logs, like those of IIS and CloudFront. A line `#Fields:` names the fields of the lines below it,
 * which are separated by spaces or tabs. IIS writes one at each start, and when its settings change. Times are UTC
 * unless the server is configured otherwise. `columns`: the fields of the first lines.
 */
export function w3cReader(columns: readonly string[], times: LogTimes): ReadLine {
  let read = w3cLineReader(columns, times);
  return (text) => {
    if (!text.startsWith("#")) return read(text);
    const changed = w3cFields(text);
    if (changed !== undefined) read = w3cLineReader(changed, times);
    return "none";
  };
}

function w3cLineReader(names: readonly string[], times: LogTimes): ReadLine {
  const at = (name: string) => names.indexOf(name);
  const [date, time, client, method] = [at("date"), at("time"), at("c-ip"), at("cs-method")];
  const [stem, query, status] = [at("cs-uri-stem"), at("cs-uri-query"), at("sc-status")];
  const [referrer, agent] = [at("cs(referer)"), at("cs(user-agent)")];
  return (text) => {
    const fields = text.split(text.includes("\t") ? "\t" : " ");
    if (fields.length !== names.length) return undefined;
    const queryText = fields[query];
    const path = queryText === undefined || queryText === "-" ? fields[stem] : `${fields[stem]}?${queryText}`;
    const parts = {
      time: `${fields[date]}T${fields[time]}`,
      ...{ user: fields[client], method: fields[method], path, status: fields[status] },
      ...{ referrer: unescaped(fields[referrer]), agent: unescaped(fields[agent]) },
    };
    return lineOf(parts as Record<string, string>, times);
  };
}

/** CloudFront escapes spaces as %20, IIS writes them as +. */
function unescaped(text: string | undefined): string | undefined {
  return text?.replaceAll("+", " ").replaceAll("%20", " ");
}

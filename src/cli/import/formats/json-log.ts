/** Reads logs of JSON objects: Caddy's, Traefik's, nginx' with its variable names, or others by a map of fields. */
import { type LogParts, type LogTimes, lineOf, type ReadLine } from "./log-line.ts";

type Field = keyof LogParts;

/** The candidates for each field, in order of preference; dots lead into nested objects. */
const MEMBERS: Readonly<Record<Field, readonly string[]>> = {
  time: ["ts", "StartUTC", "time_iso8601", "msec", "time_local", "time"],
  user: ["request.client_ip", "request.remote_ip", "ClientHost", "remote_addr"],
  method: ["request.method", "RequestMethod", "request_method"],
  path: ["request.uri", "RequestPath", "request_uri", "uri"],
  request: [],
  status: ["status", "DownstreamStatus"],
  referrer: ["request.headers.Referer", "request_Referer", "http_referer"],
  agent: ["request.headers.User-Agent", "request_User-Agent", "http_user_agent"],
};

export const JSON_FIELDS = Object.keys(MEMBERS) as Field[];

export type FieldMap = Readonly<Partial<Record<Field, string>>>;

export function jsonLogReader(times: LogTimes, fields: FieldMap): ReadLine {
  const paths = JSON_FIELDS.map((field) => {
    const members = fields[field] === undefined ? MEMBERS[field] : [fields[field]];
    return [field, members.map((member) => member.split("."))] as const;
  });
  return (text) => {
    const value = parsed(text);
    if (value === undefined) return undefined;
    if (isMessageOnRequest(value)) return "none";
    const parts: Partial<Record<Field, string>> = {};
    for (const [field, candidates] of paths) {
      for (const path of candidates) {
        const found = textAt(value, path);
        if (found !== undefined) parts[field] ??= found;
      }
    }
    return lineOf(parts, times) ?? (isOtherMessage(value) ? "none" : undefined);
  };
}

/** nginx without `escape=json` writes quotes as \x22, which is not JSON. */
function parsed(text: string): object | undefined {
  return objectIn(text) ?? objectIn(text.replace(/\\x([0-9A-F]{2})/g, "\\u00$1"));
}

function objectIn(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The first of several values, such as those of a header in Caddy's logs. */
function textAt(value: object, path: readonly string[]): string | undefined {
  let at: unknown = value;
  for (const name of path) at = (at as Record<string, unknown> | null | undefined)?.[name];
  const first: unknown = Array.isArray(at) ? at[0] : at;
  return typeof first === "string" || typeof first === "number" ? String(first) : undefined;
}

/** Caddy logs an error together with its request, which also has its own line. */
function isMessageOnRequest({ logger }: { readonly logger?: unknown }): boolean {
  return typeof logger === "string" && logger.startsWith("http.") && !logger.startsWith("http.log.access");
}

/** Caddy writes other messages to the same log. */
function isOtherMessage(value: object): boolean {
  const { level, logger = "", request } = value as { level?: unknown; logger?: unknown; request?: unknown };
  return level !== undefined && request === undefined && !String(logger).startsWith("http.log.access");
}

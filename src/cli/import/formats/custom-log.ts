/**
 * Reads logs described by a format string like nginx' `log_format` or Apache's `LogFormat`:
 *
 *   $remote_addr [$time_local] "$request" $status "$http_referer"     or     %h [%t] "%r" %>s "%{Referer}i"
 *
 * Invariant: reading takes linear time: each value ends at the first occurrence of the text after it.
 */
import { ImportError } from "../import-error.ts";
import { type LogParts, type LogTimes, lineOf, type ReadLine } from "./log-line.ts";

const VARIABLE = /\$([a-z0-9_]+)|\$\{([a-z0-9_]+)\}|%[<>]?(\{[^}]+\}[a-z]|[a-zA-Z])/g;
const NAMES: Readonly<Record<string, keyof LogParts>> = {
  ...{ remote_addr: "user", realip_remote_addr: "user", http_x_forwarded_for: "user", h: "user", a: "user" },
  ...{ "{x-forwarded-for}i": "user" },
  ...{ time_local: "time", time_iso8601: "time", msec: "time", t: "time" },
  ...{ request: "request", r: "request", request_method: "method", m: "method" },
  ...{ request_uri: "path", uri: "path", U: "path" },
  ...{ status: "status", s: "status", http_referer: "referrer", "{referer}i": "referrer" },
  ...{ http_user_agent: "agent", "{user-agent}i": "agent" },
};

interface Value {
  /** Undefined if the value is ignored. */
  readonly part: keyof LogParts | undefined;
  /** The text after it; "" at the end of the line. */
  readonly behind: string;
}

/** Throws ImportError if the format has no time or no client. */
export function customLogReader(format: string, times: LogTimes): ReadLine {
  const found = [...format.matchAll(VARIABLE)];
  const start = format.slice(0, found[0]?.index ?? format.length);
  const values = found.map((variable, i): Value => {
    const name = variable[1] ?? variable[2] ?? variable[3]!;
    const behind = format.slice(variable.index + variable[0].length, found[i + 1]?.index ?? format.length);
    return { part: NAMES[name] ?? NAMES[name.toLowerCase()], behind };
  });
  for (const needed of ["time", "user"] as const) {
    if (values.some(({ part }) => part === needed)) continue;
    const names = Object.keys(NAMES).filter((name) => NAMES[name] === needed);
    throw new ImportError(`--log-format has no ${needed}: expected one of ${names.join(", ")}`);
  }
  return (text) => {
    const parts = partsOf(text, start, values);
    return parts && lineOf(parts, times);
  };
}

function partsOf(text: string, start: string, values: readonly Value[]): LogParts | undefined {
  if (!text.startsWith(start)) return undefined;
  const parts: Partial<Record<keyof LogParts, string>> = {};
  let at = start.length;
  for (const { part, behind } of values) {
    const end = behind === "" ? text.length : endOf(text, at, behind);
    if (end === -1) return undefined;
    if (part !== undefined) parts[part] = part === "time" ? bare(text.slice(at, end)) : text.slice(at, end);
    at = end + behind.length;
  }
  return at === text.length ? parts : undefined;
}

/** A quoted value may contain escaped quotes. */
function endOf(text: string, from: number, behind: string): number {
  let end = text.indexOf(behind, from);
  while (behind.startsWith('"') && end > from && text[end - 1] === "\\") end = text.indexOf(behind, end + 1);
  return end;
}

/** Apache's %t includes brackets. */
function bare(time: string): string {
  return time.startsWith("[") ? time.slice(1, -1) : time;
}

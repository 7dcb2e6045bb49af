/**
 * Shared by all the small servers here: the query, parsed by hand, and the shapes of the answers. As little as an
 * honest server can do, so that the approach itself is measured.
 */
export const HOUR_MS = 3_600_000;

export interface Event {
  readonly hour: number;
  readonly at: number;
  readonly user: string;
  readonly isClick: boolean;
}

export interface Counts {
  readonly users: number;
  readonly clicks: number;
  readonly impressions: number;
}

const NO_CONTENT: ResponseInit = { status: 204 };
const TEXT: ResponseInit = { headers: { "content-type": "text/plain; charset=utf-8" } };
const BAD_REQUEST: ResponseInit = { status: 400 };

/** Undefined if it is none. */
export function eventOf(url: string): Event | undefined {
  const at = Number(parameter(url, "timestamp"));
  const user = parameter(url, "user");
  const isClick = parameter(url, "click") !== undefined;
  if (!(at >= 0) || !user || isClick === (parameter(url, "impression") !== undefined)) return undefined;
  return { hour: hourOf(at), at, user, isClick };
}

/** Undefined if it names none. */
export function hourIn(url: string): number | undefined {
  const at = Number(parameter(url, "timestamp"));
  return at >= 0 ? hourOf(at) : undefined;
}

/** The value; the empty text for a name alone; undefined if there is no such name. */
function parameter(url: string, name: string): string | undefined {
  let start = url.indexOf("?");
  while (start !== -1) {
    const nameEnd = start + 1 + name.length;
    const next = url.indexOf("&", start + 1);
    if (url.startsWith(name, start + 1)) {
      if (nameEnd === url.length || nameEnd === next) return "";
      if (url[nameEnd] === "=") return url.slice(nameEnd + 1, next === -1 ? url.length : next);
    }
    start = next;
  }
  return undefined;
}

export function hourOf(at: number): number {
  return at - (at % HOUR_MS);
}

export function counted(): Response {
  return new Response(null, NO_CONTENT);
}

export function countsAnswer({ users, clicks, impressions }: Counts): Response {
  return new Response(`unique_users,${users}\nclicks,${clicks}\nimpressions,${impressions}\n`, TEXT);
}

export function refused(): Response {
  return new Response("not an event, or not an hour", BAD_REQUEST);
}

/** The line that says that a server listens, and where; read by the process that started it. */
export function announce(port: number): void {
  console.log(`listening on 127.0.0.1:${port}`);
}

/** Reads an environment variable. Throws if it is not set. */
export function setting(name: "PORT" | "REDIS_URL" | "MYSQL_URL"): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: the bench suite sets it when it starts this server`);
  return value;
}

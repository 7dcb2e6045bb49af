/** The access log in test/data as events, and a helper that sends them, many requests at a time. */
import { join } from "node:path";
import type { PostedEvent } from "./analytics-client.ts";
import { type HttpConnection, openConnection } from "./http-connection.ts";

const CONNECTIONS = 64;

const LINE = /^(\S+) \S+ \S+ \[([^\]]+)\] "[^"]*" \d+ \S+ "([^"]*)"/;
const TIME = /^(\d{2})\/(\w{3})\/(\d{4}):(\d{2}:\d{2}:\d{2}) \+0000$/;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export function dataFile(name: string) {
  return Bun.file(join(import.meta.dir, "..", "..", "data", name));
}

/** A request that came from another page is taken for a click, any other for an impression. */
export async function logEvents(): Promise<PostedEvent[]> {
  const log = Bun.gunzipSync(await dataFile("access.log.gz").arrayBuffer());
  const matches = new TextDecoder()
    .decode(log)
    .split("\n")
    .map((line) => LINE.exec(line));
  return matches
    .filter((match) => match !== null)
    .map(([, user, when, referrer]) => {
      const isDirect = referrer === "-" || referrer === "";
      return { user: user!, at: timeOf(when!), kind: isDirect ? "impression" : "click" };
    });
}

function timeOf(when: string): number {
  const [, day, month, year, time] = TIME.exec(when) ?? [];
  if (time === undefined) throw new Error(`not a time: ${when}`);
  const monthNumber = String(MONTHS.indexOf(month!) + 1).padStart(2, "0");
  return Date.parse(`${year}-${monthNumber}-${day}T${time}Z`);
}

/** Each item is worked on once, `CONNECTIONS` at a time. */
export async function overConnections<T>(
  port: number,
  items: Iterable<T>,
  work: (connection: HttpConnection, item: T) => Promise<void>,
): Promise<void> {
  const rest = items[Symbol.iterator]();
  const lane = async () => {
    const connection = await openConnection(port);
    for (let next = rest.next(); !next.done; next = rest.next()) await work(connection, next.value);
    connection.close();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
}

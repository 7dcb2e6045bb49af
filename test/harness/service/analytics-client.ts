/** Sends a user's requests to the service, and parses its answers. */
import { type Answer, ask, type HttpConnection } from "./http-connection.ts";
import { waitFor } from "./wait-for.ts";

export interface PostedEvent {
  readonly at: number;
  readonly user: string;
  readonly kind: "click" | "impression";
  readonly stream?: string | undefined;
  readonly id?: string | undefined;
}

export interface Counts {
  readonly uniqueUsers: number;
  readonly clicks: number;
  readonly impressions: number;
}

const STORES_TIMEOUT_MS = 20_000;
const HOUR_BODY = /^unique_users,(\d+)\nclicks,(\d+)\nimpressions,(\d+)\n$/;

export function eventTarget({ at, user, kind, stream, id }: PostedEvent): string {
  const optional = Object.entries({ stream, id }).filter(([, value]) => value !== undefined);
  const more = optional.map(([name, value]) => `&${name}=${encodeURIComponent(value!)}`).join("");
  return `/analytics?timestamp=${at}&user=${encodeURIComponent(user)}&${kind}${more}`;
}

export function hourTarget(at: number, stream?: string): string {
  return `/analytics?timestamp=${at}${stream === undefined ? "" : `&stream=${stream}`}`;
}

/** Over a connection of its own if a port is given. */
function send(over: HttpConnection | number, method: string, target: string): Promise<Answer> {
  const request = { method, target };
  return typeof over === "number" ? ask(over, request) : over.send(request);
}

/** Sends it again after a 503, which has counted nothing. Throws if the event is not taken. */
export async function postEvent(over: HttpConnection | number, event: PostedEvent): Promise<void> {
  const { status, body } = await waitFor(
    "an event to be taken or refused for good",
    async () => {
      const answer = await send(over, "POST", eventTarget(event));
      if (answer.status === 503) throw new Error(answer.body);
      return answer;
    },
    { timeoutMs: STORES_TIMEOUT_MS },
  );
  if (status !== 204) throw new Error(`${eventTarget(event)} was answered with ${status} ${body}`);
}

/**
 * Asks again while a store is unavailable, as either may be for a moment on a busy machine: until the answer is whole,
 * of all events, the unflushed ones too.
 */
export async function readHour(over: HttpConnection | number, at: number, stream?: string): Promise<Counts> {
  const { status, body } = await waitFor(
    "an answer that is whole",
    async () => {
      const answer = await send(over, "GET", hourTarget(at, stream));
      return answer.status !== 503 && !answer.headers.has("hourglass-degraded") && answer;
    },
    { timeoutMs: STORES_TIMEOUT_MS },
  );
  if (status !== 200) throw new Error(`${hourTarget(at, stream)} was answered with ${status} ${body}`);
  const [, uniqueUsers, clicks, impressions] = HOUR_BODY.exec(body) ?? [];
  if (impressions === undefined) throw new Error(`not the counts of an hour: ${JSON.stringify(body)}`);
  return { uniqueUsers: Number(uniqueUsers), clicks: Number(clicks), impressions: Number(impressions) };
}

/**
 * The header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): an event's id, for clients that send one with
 * every request. The draft requires quotes; most clients omit them, which is accepted too.
 */
import type { Event } from "../../domain/event.ts";
import { USER_MAX_BYTES } from "../../domain/user-text.ts";
import { InvalidParameterError } from "../input-error.ts";

export const IDEMPOTENCY_KEY = "idempotency-key";
export const EXPECTS_IDEMPOTENCY_KEY = `1 to ${USER_MAX_BYTES} ASCII characters, quoted or without spaces`;

const QUOTED = /^"((?:[ !#-[\]-~]|\\["\\])*)"$/;
/** A repeated header arrives with a comma and a space, which this excludes. */
const BARE = /^[!#-~]+$/;

/** Throws InvalidParameterError. */
export function withIdempotencyKey(event: Event, header: string): Event {
  const key = QUOTED.exec(header)?.[1]?.replace(/\\(.)/g, "$1") ?? (BARE.test(header) ? header : "");
  if (key === "" || key.length > USER_MAX_BYTES)
    throw new InvalidParameterError(IDEMPOTENCY_KEY, header, EXPECTS_IDEMPOTENCY_KEY);
  if (event.id === undefined) return { ...event, id: key };
  if (event.id === key) return event;
  throw new InvalidParameterError(IDEMPOTENCY_KEY, key, `the same as id (${JSON.stringify(event.id)}), or only one`);
}

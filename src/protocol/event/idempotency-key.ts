/**
 * The header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): the id of a single event, for clients that
 * send one with every request. The draft wants it in quotes; most clients omit them, which is accepted too.
 */
import type { Event } from "../../domain/event.ts";
import { USER_MAX_BYTES } from "../../domain/user-text.ts";
import { InvalidParameterError } from "../input-error.ts";

export const IDEMPOTENCY_KEY = "idempotency-key";
export const EXPECTS_IDEMPOTENCY_KEY = `1 to ${USER_MAX_BYTES} characters of ASCII, quoted or without blanks`;

const QUOTED = /^"((?:[ !#-[\]-~]|\\["\\])*)"$/;
/** A header that is given twice holds a comma and a blank. */
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

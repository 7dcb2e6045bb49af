/**
 * The schemas of the parameters of /analytics, for the validator, error messages and API description. They build on the
 * rules for streams (domain/stream-rules.ts) and for users and ids (domain/user-text.ts), which also say what an error
 * names as expected; ../input-error.ts has the words around it. from-query.ts accepts valid queries without the
 * validator; a test compares the two.
 */
import { Type } from "@sinclair/typebox";
import { DAY_MS, HOUR_MS } from "../../domain/event.ts";
import { DEFAULT_STREAM, EXPECTS_STREAM, STREAM_PATTERN } from "../../domain/stream-rules.ts";
import { EXPECTS_USER, USER_MAX_BYTES } from "../../domain/user-text.ts";
import { parameters } from "../query-string.ts";
import { ISO_INSTANT_PATTERN } from "../time-text.ts";

/** Older timestamps are refused unless the sender confirms them: nearly all are seconds sent by mistake. */
export const OLDEST_MS = Date.UTC(2001, 0, 1);
/** How far ahead of this clock a timestamp may be. */
export const FUTURE_MAX_MS = DAY_MS;
export const EXPECTS_TIMESTAMP = expectsTimestamp(OLDEST_MS);
export const EXPECTS_KIND = "exactly one of click and impression";

const timestamp = Type.String({
  pattern: `^(0|[1-9][0-9]{0,14}|${ISO_INSTANT_PATTERN})$`,
  description: EXPECTS_TIMESTAMP,
  examples: ["1578651952635"],
});
const stream = Type.String({
  pattern: STREAM_PATTERN,
  description: EXPECTS_STREAM,
  default: DEFAULT_STREAM,
});
const bytes = { minLength: 1, maxLength: USER_MAX_BYTES, description: EXPECTS_USER };

/** Events before OLDEST_MS can be stored, so they can be read. */
export const EXPECTS_TIME_OF_HOUR = expectsTimestamp(0);

export const HourQuerySchema = parameters({
  timestamp: { ...timestamp, description: EXPECTS_TIME_OF_HOUR },
  stream: Type.Optional(stream),
  format: Type.Optional(
    Type.Union([Type.Literal("text"), Type.Literal("json")], { description: "text or json", default: "text" }),
  ),
});

const flag = Type.Literal("", { description: "no value: give the name alone" });

export const EventQuerySchema = parameters({
  timestamp: Type.Optional({ ...timestamp, description: `${EXPECTS_TIMESTAMP}; now if it is left out` }),
  user: Type.String({ ...bytes, examples: ["foo"] }),
  click: Type.Optional(flag),
  impression: Type.Optional(flag),
  event: Type.Optional(
    Type.Union([Type.Literal("click"), Type.Literal("impression")], {
      description: "click or impression",
      examples: ["click"],
    }),
  ),
  stream: Type.Optional(stream),
  id: Type.Optional(Type.String(bytes)),
});

export function expectsTimestamp(earliest: number): string {
  const why = earliest > OLDEST_MS ? "older events are not retained" : "did you send seconds?";
  const from = earliest === 0 ? "0" : `${earliest} (${new Date(earliest).toISOString()}: ${why})`;
  const to = `${FUTURE_MAX_MS / HOUR_MS} hours from now`;
  return `milliseconds since the epoch, or ISO 8601 with its offset from UTC, from ${from} to ${to}`;
}

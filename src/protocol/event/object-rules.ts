/** An event as a JSON object: its schema, which has the rules of query-rules.ts with JSON types, and its text. */
import { Type } from "@sinclair/typebox";
import type { Event } from "../../domain/event.ts";
import { parameters } from "../query-string.ts";
import { ISO_INSTANT_PATTERN } from "../time-text.ts";
import { EventQuerySchema, expectsTimestamp, OLDEST_MS } from "./query-rules.ts";

const { user, event, stream, id } = EventQuerySchema.properties;

export const EventObjectSchema = parameters({
  timestamp: Type.Optional(
    Type.Union([Type.Integer({ minimum: 0 }), Type.String({ pattern: `^${ISO_INSTANT_PATTERN}$` })], {
      description: `${expectsTime(OLDEST_MS)}; now if it is left out`,
      examples: [1578651952635],
    }),
  ),
  user,
  event: Type.Optional(event, false),
  stream,
  id,
});

export const EVENT_MEMBERS = Object.keys(EventObjectSchema.properties);

export function eventJson({ stream, at, kind, user, id }: Event): string {
  return JSON.stringify({ timestamp: at, user, event: kind, stream, id });
}

export function expectsTime(earliest: number): string {
  return `${expectsTimestamp(earliest)}; milliseconds without quotes`;
}

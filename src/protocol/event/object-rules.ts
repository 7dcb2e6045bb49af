/** The schema of an event in a body: the rules of query-rules.ts with JSON types. */
import { Type } from "@sinclair/typebox";
import { ISO_INSTANT_PATTERN } from "../time-text.ts";
import { EventQuerySchema, expectsTimestamp, OLDEST_MS, parameters } from "./query-rules.ts";

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

export function expectsTime(earliest: number): string {
  return `${expectsTimestamp(earliest)}; milliseconds without quotes`;
}

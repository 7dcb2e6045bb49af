/** The rules for an event in a body: those of query-rules.ts, with the types of JSON. */
import { Type } from "@sinclair/typebox";
import { EventQuerySchema, expectsTimestamp } from "./query-rules.ts";

const EXPECTS_INTEGER = expectsInteger(0);

const { user, event, stream, id } = EventQuerySchema.properties;

/** Other members are refused: an event with a misspelt `id` would count twice. */
export const EventObjectSchema = Type.Object(
  {
    timestamp: Type.Integer({ minimum: 0, description: EXPECTS_INTEGER, examples: [1578651952635] }),
    user,
    event: Type.Optional(event, false),
    stream,
    id,
  },
  { additionalProperties: false },
);

export function expectsInteger(earliest: number): string {
  return `${expectsTimestamp(earliest)}, without quotes`;
}

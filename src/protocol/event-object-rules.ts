/**
 * What an event in a body has to be: the same as in a query (analytics-schema.ts), but for what JSON has types
 * for. As there, it is what every refusal is based on; what is plainly right is recognised without it.
 */
import { Type } from "@sinclair/typebox";
import { EventQuerySchema, expectsTimestamp } from "./event-rules.ts";

const EXPECTS_INTEGER = expectsInteger(0);

const { user, event, stream, id } = EventQuerySchema.properties;

/** No member but these: a misspelt `id` would be an event that counts twice. */
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

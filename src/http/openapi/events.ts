/** Describes POST /events: many events in one request. */
import { Type } from "@sinclair/typebox";
import { BODY_MAX_BYTES, notPacked, unsupportedEncoding } from "../../protocol/body/encoding.ts";
import { EVENTS_MAX, INVALID_MAX_LISTED, LINES_MAX, tooManyEvents } from "../../protocol/body/read-events.ts";
import { EventObjectSchema } from "../../protocol/event/object-rules.ts";
import { OUTCOME_UNKNOWN } from "../answers.ts";
import { BatchQuerySchema } from "../ingest/events.ts";
import { invalidEvents, notCountedBody } from "../ingest/events-answer.ts";
import { outcomeUnknown, refused } from "./analytics.ts";
import {
  count,
  ErrorSchema,
  failure,
  INVALID_PARAMETER,
  internal,
  JSON_TYPE,
  json,
  MALFORMED_QUERY,
  MALFORMED_SAYS,
  members,
  oneOf,
  operation,
  type Paths,
  queryParameters,
  refTo,
} from "./parts.ts";

const index = count("number of the element, or of the line (blank ones counted), from 0");
const { code, message, field, got, expected } = ErrorSchema.properties.error.properties;
const errors = Type.Array(members({ index, code, message, field, got, expected }), {
  description: `why events are invalid, for the first ${INVALID_MAX_LISTED}`,
  maxItems: INVALID_MAX_LISTED,
});

const counts = {
  events: count("events in the body: accepted + duplicates + invalid + refused + unknown"),
  accepted: count("stored, and included in every later answer"),
  duplicates: count("counted before under the same id"),
  invalid: count("not counted: correct them"),
  refused: count("not counted: retry them"),
  unknown: count("counted once or never, not known yet: retry them only with an id"),
  errors,
};

const unstored = (description: string) =>
  Type.Array(
    members({
      code,
      message,
      count: count("how many events"),
      indexes: Type.Array(Type.Array(index, { minItems: 2, maxItems: 2 }), {
        description: "ranges of indexes: first and last, both inclusive",
      }),
    }),
    { description },
  );
const partial = {
  refusals: unstored("events that were refused, by reason"),
  unknowns: unstored("events whose outcome is unknown"),
};

export const eventsSchemas = {
  Event: EventObjectSchema,
  Batch: members(counts, "The outcome of a request's events."),
  PartialBatch: members({ ...counts, ...partial }, "The outcome of a request's events."),
};

const NOT_ATOMIC = invalidEvents(1, 3);
const INVALID_EVENT = { index: 1, ...INVALID_PARAMETER };
const BATCH = { events: 2, accepted: 1, duplicates: 1, invalid: 0, refused: 0, unknown: 0, errors: [] };
const PARTIAL_BATCH = {
  ...{ ...BATCH, events: 6, invalid: 1, refused: 1, unknown: 2, errors: [INVALID_EVENT] },
  refusals: [{ ...notCountedBody("hot_store_away"), count: 1, indexes: [[3, 3]] }],
  unknowns: [{ ...OUTCOME_UNKNOWN, count: 2, indexes: [[4, 5]] }],
};

const EVENTS = [
  { timestamp: 1578651952635, user: "ann", event: "impression" },
  { timestamp: 1578651953001, user: "ann", event: "click", stream: "shop.spring", id: "order-17" },
];
const LINES = EVENTS.map((event) => `${JSON.stringify(event)}\n`).join("");

const CONTENT = {
  [JSON_TYPE]: { schema: Type.Array(refTo("Event"), { maxItems: EVENTS_MAX }), example: EVENTS },
  "application/x-ndjson": {
    schema: Type.String({
      description: `an event (schema Event) on each line; blank lines are ignored, up to ${LINES_MAX} lines`,
    }),
    example: LINES,
  },
  "text/plain": {
    schema: Type.String({ description: "one of the two above, the way navigator.sendBeacon sends a string" }),
    example: LINES,
  },
};

export const eventsPaths: Paths = {
  "/events": {
    post: operation("postEvents", "Events", "Count many events", {
      description:
        "The promises for single events hold for each event. Invalid or refused events do not keep the others from " +
        "being counted, unless `atomic=1`. `text/plain` is for navigator.sendBeacon, which needs no CORS preflight " +
        "with it. With `unknown=ignore`, log shippers may add their own members; but a misspelt `id` is then " +
        "ignored too, and the event counts again with each retry. A retry is safe if each event has an `id`; a " +
        "header `Idempotency-Key` has no effect here.",
      parameters: [
        ...queryParameters(BatchQuerySchema),
        {
          name: "content-encoding",
          in: "header",
          description: "The body's compression, if any.",
          schema: oneOf(["gzip", "zstd"]),
        },
      ],
      requestBody: {
        required: true,
        description: `Up to ${EVENTS_MAX} events and ${BODY_MAX_BYTES} bytes, compressed and decompressed.`,
        content: CONTENT,
      },
      responses: {
        200: json("All events are stored.", "Batch", BATCH),
        207: json(
          "Some are stored, and the answer names the others. With `retry-after`, some were refused or are of unknown " +
            "outcome: retry these. Without it, the others are invalid.",
          "PartialBatch",
          PARTIAL_BATCH,
          ["retry-after"],
        ),
        400: failure(
          `Nothing was counted. The query or the body can't be read: ${MALFORMED_SAYS}; the body was cut off, ` +
            "is not a JSON array, or is not compressed as its header says.",
          notPacked("gzip", "incorrect header check").body,
          { otherCodes: [MALFORMED_QUERY.code, "unreadable_body"] },
        ),
        413: failure("Nothing was counted: split the events over several requests.", tooManyEvents().body, {
          otherCodes: ["body_too_large", "too_many_lines"],
        }),
        415: failure(
          "Nothing was counted: the content type, charset or content encoding is not supported.",
          unsupportedEncoding("br").body,
          { otherCodes: ["unsupported_type"], headers: ["accept-post", "accept-encoding"] },
        ),
        422: failure(
          "Nothing was counted: a parameter is invalid; or no event is valid; or, with `atomic=1`, one is not.",
          NOT_ATOMIC,
          // An answer about an invalid parameter has no counts.
          { otherCodes: [INVALID_PARAMETER.code], beside: Type.Partial(Type.Object(counts)).properties },
        ),
        500: internal,
        503: refused,
        504: outcomeUnknown,
      },
    }),
  },
};

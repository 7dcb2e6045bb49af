/** POST /events, described: many events in one request. */
import { Type } from "@sinclair/typebox";
import { UNKNOWN } from "../../pipeline/commit/open-batch.ts";
import { BODY_MAX_BYTES } from "../../protocol/body/encoding.ts";
import { EVENTS_MAX, INVALID_MAX_LISTED, LINES_MAX } from "../../protocol/body/read-events.ts";
import { EventObjectSchema } from "../../protocol/event/object-rules.ts";
import { UNKNOWN_MESSAGE } from "../answers.ts";
import { BatchQuerySchema } from "../ingest/events.ts";
import { outcomeUnknown, refused } from "./analytics.ts";
import {
  answer,
  count,
  ErrorSchema,
  failure,
  INVALID_PARAMETER,
  internal,
  JSON_TYPE,
  MALFORMED_QUERY,
  members,
  oneOf,
  type Paths,
  queryParameters,
  refTo,
} from "./parts.ts";

const index = count("of the element, or of the line (blank ones counted), from 0");
const { code, message, field, got, expected } = ErrorSchema.properties.error.properties;
const errors = Type.Array(members({ index, code, message, field, got, expected }), {
  description: `why events are invalid: of the first ${INVALID_MAX_LISTED}`,
  maxItems: INVALID_MAX_LISTED,
});

const counts = {
  events: count("how many the body holds: accepted + duplicates + invalid + refused + unknown"),
  accepted: count("stored, and in every answer from now on"),
  duplicates: count("counted before, by their id"),
  invalid: count("not counted: to be corrected"),
  refused: count("not counted: to be sent again"),
  unknown: count("counted once or never, nobody knows yet: to be sent again only with an id"),
  errors,
};

const unstored = (description: string) =>
  Type.Array(
    members({
      code,
      message,
      count: count("how many events"),
      indexes: Type.Array(Type.Array(index, { minItems: 2, maxItems: 2 }), {
        description: "ranges of them: the first and the last index, both included",
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
  Batch: members(counts, "What became of the events of a request."),
  PartialBatch: members({ ...counts, ...partial }, "What became of the events of a request."),
};

const NOT_ATOMIC = {
  code: "invalid_events",
  message: "1 of 3 events are invalid. Nothing was counted.",
};
const INVALID_EVENT = { index: 1, ...INVALID_PARAMETER.example };
const BATCH = { events: 2, accepted: 1, duplicates: 1, invalid: 0, refused: 0, unknown: 0, errors: [] };
const AWAY = {
  code: "hot_store_away",
  message: "the hot store does not answer: these were not counted, send them again",
};
const PARTIAL_BATCH = {
  ...{ ...BATCH, events: 6, invalid: 1, refused: 1, unknown: 2, errors: [INVALID_EVENT] },
  refusals: [{ ...AWAY, count: 1, indexes: [[3, 3]] }],
  unknowns: [{ code: UNKNOWN.reason, message: UNKNOWN_MESSAGE, count: 2, indexes: [[4, 5]] }],
};

const EVENTS = [
  { timestamp: 1578651952635, user: "ann", event: "impression" },
  { timestamp: 1578651953001, user: "ann", event: "click", stream: "shop.spring", id: "order-17" },
];
const LINES = EVENTS.map((event) => `${JSON.stringify(event)}\n`).join("");

const invalidOrNotAtomic = failure(
  "Nothing was counted: a parameter is not what it has to be; or no event is valid; or, with `atomic=1`, one is not.",
  [INVALID_PARAMETER.code, NOT_ATOMIC.code],
  NOT_ATOMIC,
  {
    // Beside a parameter that is wrong there are no counts.
    beside: Type.Partial(Type.Object(counts)).properties,
  },
);

export const eventsPaths: Paths = {
  "/events": {
    post: {
      operationId: "postEvents",
      tags: ["Events"],
      summary: "Count many events",
      description:
        "Each event has the same promises as one alone. Those that are invalid or refused do not keep the others " +
        "from being counted, unless `atomic=1`.",
      parameters: [
        ...queryParameters(BatchQuerySchema),
        {
          name: "content-encoding",
          in: "header",
          description: "How the body is packed, if it is.",
          schema: oneOf(["gzip", "zstd"]),
        },
      ],
      requestBody: {
        required: true,
        description: `Up to ${EVENTS_MAX} events and ${BODY_MAX_BYTES} bytes, before and after it is unpacked.`,
        content: {
          [JSON_TYPE]: {
            schema: Type.Array(refTo("Event"), { maxItems: EVENTS_MAX }),
            example: EVENTS,
          },
          "application/x-ndjson": {
            schema: Type.String({
              description: `an event (schema Event) on each line; blank lines are ignored, up to ${LINES_MAX} lines`,
            }),
            example: LINES,
          },
        },
      },
      responses: {
        200: answer("All are stored.", {
          [JSON_TYPE]: { schema: refTo("Batch"), example: BATCH },
        }),
        207: answer(
          "Some are stored, and the answer names the others. With `retry-after`, some were refused or are of unknown " +
            "outcome: send these again. Without it, the others are invalid.",
          { [JSON_TYPE]: { schema: refTo("PartialBatch"), example: PARTIAL_BATCH } },
          ["retry-after"],
        ),
        400: failure(
          `Nothing was counted. The query or the body can't be read: ${MALFORMED_QUERY.says}; the body broke off, ` +
            "is no JSON array, or is not packed as its header says.",
          [MALFORMED_QUERY.code, "malformed_body", "unreadable_body"],
          {
            code: "malformed_body",
            message: "The body could not be decompressed as gzip. Nothing was counted.",
          },
        ),
        413: failure(
          "Nothing was counted: send the events in parts.",
          ["body_too_large", "too_many_events", "too_many_lines"],
          {
            code: "too_many_events",
            message: `The body has more than ${EVENTS_MAX} events. Nothing was counted; send it in parts.`,
          },
        ),
        415: failure(
          "Nothing was counted: another content type, charset or content encoding.",
          ["unsupported_type", "unsupported_encoding"],
          {
            code: "unsupported_encoding",
            message: 'content-encoding: got "br", expected gzip, zstd, or no such header',
            field: "content-encoding",
            got: "br",
            expected: "gzip, zstd, or no such header",
          },
          { headers: ["accept-post", "accept-encoding"] },
        ),
        422: invalidOrNotAtomic,
        500: internal,
        503: refused,
        504: outcomeUnknown,
      },
    },
  },
};

/** Describes the routes that count: /analytics (its GET is in read-routes.ts), /events, and those for web pages. */
import { Type } from "@sinclair/typebox";
import { ID_TTL_TEXT } from "../../domain/event-ids.ts";
import { REFUSAL_REASONS, type RefusalReason } from "../../domain/refusal-reasons.ts";
import { notPacked, unsupportedEncoding } from "../../protocol/body/encoding.ts";
import { BODY_MAX_BYTES, EVENTS_MAX, INVALID_MAX_LISTED, LINES_MAX } from "../../protocol/body/limits.ts";
import { tooManyEvents } from "../../protocol/body/read-events.ts";
import { EXPECTS_IDEMPOTENCY_KEY, IDEMPOTENCY_KEY } from "../../protocol/event/idempotency-key.ts";
import { EventObjectSchema } from "../../protocol/event/object-rules.ts";
import { EventQuerySchema, EXPECTS_KIND } from "../../protocol/event/query-rules.ts";
import { OUTCOME_UNKNOWN, refusalBody } from "../answers.ts";
import { TOO_LARGE_BODY } from "../ingest/analytics.ts";
import { TARGET_NOT_ALLOWED } from "../ingest/browsers.ts";
import { BatchQuerySchema } from "../ingest/events.ts";
import { invalidEvents, notCountedBody } from "../ingest/events-answer.ts";
import { EXPECTS_TARGET } from "../ingest/redirect-targets.ts";
import {
  answer,
  count,
  ErrorSchema,
  failure,
  IF_NONE_MATCH,
  INVALID_PARAMETER,
  internal,
  JSON_TYPE,
  json,
  MALFORMED_QUERY,
  MALFORMED_SAYS,
  members,
  notModified,
  oneOf,
  operation,
  type Parameter,
  type Paths,
  queryParameters,
  refTo,
  STREAM_NOT_ALLOWED,
} from "./parts.ts";
import { getHour } from "./read-routes.ts";

const OF_OTHER_STATUS: readonly RefusalReason[] = ["invalid", "unauthorized", "rate_limited"];

const RETRIED = REFUSAL_REASONS.filter((reason) => !OF_OTHER_STATUS.includes(reason));

const refused = failure("Nothing was counted: retry after `retry-after`.", refusalBody("journal_full"), {
  otherCodes: RETRIED,
  headers: ["retry-after"],
});

const outcomeUnknown = failure(
  "The hot store did not answer in time: this counts once or never. Retry only with an `id`.",
  OUTCOME_UNKNOWN,
);

const invalid = failure("A parameter is missing, unknown, or invalid.", INVALID_PARAMETER, {
  otherCodes: ["too_many_streams"],
});

const idempotencyKey: Parameter = {
  name: IDEMPOTENCY_KEY,
  in: "header",
  description: `Equivalent to \`id\`: ${EXPECTS_IDEMPOTENCY_KEY}.`,
  schema: Type.String({ minLength: 1 }),
};

const tooLargeBody = failure("The body is too large (none is needed).", TOO_LARGE_BODY);

/** Why one event was not stored, or perhaps not. */
const notStored = { 422: invalid, 500: internal, 503: refused, 504: outcomeUnknown };

const analyticsPaths: Paths = {
  "/analytics": {
    post: operation("postEvent", "Events", "Count one event", {
      description:
        `Takes ${EXPECTS_KIND}, as \`click\`, \`impression\` (names without a value) or \`event=…\`. With an ` +
        "`id`, or a header `Idempotency-Key`, the request may be repeated: the same id in the same stream counts " +
        `once within ${ID_TTL_TEXT}. Without an answer the event may have been counted. A body is ignored. In a ` +
        "URL, `+` is a space: send the user `a+b@x.org` as `a%2Bb@x.org`, or it differs from the one in JSON. Users " +
        "are compared byte by byte: `é` as one code point (NFC) and as two (NFD) are two users.",
      parameters: [...queryParameters(EventQuerySchema), idempotencyKey],
      responses: {
        204: answer("The event is stored, now or earlier under the same id, and in every later answer."),
        400: failure(`The request can't be read: ${MALFORMED_SAYS}; or its body was cut off.`, MALFORMED_QUERY, {
          otherCodes: ["unreadable_body"],
        }),
        413: tooLargeBody,
        ...notStored,
      },
    }),
    get: getHour,
  },
};

const index = count("number of the element, or of the line (blank ones counted), from 0");
const { message, field, got, expected } = ErrorSchema.properties.error.properties;
const codeOfInvalid = oneOf(
  [INVALID_PARAMETER.code, "malformed_event", "too_many_streams", STREAM_NOT_ALLOWED.code],
  "what is wrong, for programs",
);
const errors = Type.Array(members({ index, code: codeOfInvalid, message, field, got, expected }), {
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

const unstored = (codes: readonly string[], description: string) =>
  Type.Array(
    members({
      code: oneOf(codes),
      message,
      count: count("how many events"),
      indexes: Type.Array(Type.Array(index, { minItems: 2, maxItems: 2 }), {
        description: "ranges of indexes: first and last, both inclusive",
      }),
    }),
    { description },
  );
const partial = {
  refusals: unstored(RETRIED, "events that were refused, by reason"),
  unknowns: unstored([OUTCOME_UNKNOWN.code], "events whose outcome is unknown"),
};

export const writeSchemas = {
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

const eventsPaths: Paths = {
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
          "Outcomes differ, and the answer names the events that are not stored. With `retry-after`, some were " +
            "refused (retry these) or are of unknown outcome (retry these only with an `id`). Without it, the others " +
            "are invalid.",
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

const { timestamp, user, stream, id, click, impression, event } = EventQuerySchema.properties;
/** No examples: a page has no clock to be trusted, and its visitor no name. */
const { examples: _time, ...anyTime } = timestamp;
const { examples: _user, ...anyUser } = user;
const visit = {
  timestamp: Type.Optional(anyTime),
  user: Type.Optional({ ...anyUser, description: `${user.description}; by default a pseudonym for the day` }),
  stream: Type.Optional(stream),
  id: Type.Optional(id),
};
const NOT_COUNTED = "hourglass-not-counted";

const unreadable = failure(
  `The query can't be read: ${MALFORMED_SAYS}; or the body was cut off, or a GET has a chunked body.`,
  MALFORMED_QUERY,
  { otherCodes: ["unreadable_body"] },
);

const browsersPaths: Paths = {
  "/pixel.gif": {
    get: operation("getPixel", "Browsers", "Count an impression by an image", {
      description: "For pages without scripts, and for emails. It is never cached. HEAD counts nothing.",
      parameters: queryParameters(Type.Object({ ...visit, impression })),
      responses: {
        200: answer(
          "The event is stored, unless a header explains why not.",
          { "image/gif": { schema: Type.Unsafe<string>({ type: "string" }) } },
          [NOT_COUNTED],
        ),
        400: unreadable,
        ...notStored,
      },
    }),
  },
  "/beacon": {
    post: operation("postBeacon", "Browsers", "Count an event by navigator.sendBeacon", {
      description: "Like `POST /analytics`, but time and user default to now and a pseudonym of the sender.",
      parameters: [
        ...queryParameters(
          Type.Object({ ...visit, click, impression, event: Type.Optional({ ...event, examples: ["click"] }) }),
        ),
        idempotencyKey,
      ],
      responses: {
        204: answer("The event is stored, unless a header explains why not.", {}, [NOT_COUNTED]),
        400: unreadable,
        413: tooLargeBody,
        ...notStored,
      },
    }),
  },
  "/r": {
    get: operation("getRedirect", "Browsers", "Count a click, and redirect to a page", {
      description:
        "Only to pages that REDIRECT_ORIGINS or a signature (`hourglass sign-redirect`) allows. The browser is " +
        "redirected even if the click can't be counted, for instance because a parameter other than `to` is invalid " +
        "or can't be read. Unlisted parameters are ignored.",
      parameters: queryParameters(
        Type.Object({
          to: Type.String({ description: EXPECTS_TARGET, examples: ["https://shop.example/spring"] }),
          sig: Type.Optional(Type.String({ description: "signature of `to` and the stream" })),
          ...visit,
        }),
      ),
      responses: {
        302: answer("The click is stored, unless a header explains why not.", {}, [
          "location",
          NOT_COUNTED,
          "hourglass-outcome",
        ]),
        400: failure(
          "Nothing was counted: `to` is given twice or is not percent-encoded UTF-8; or `stream` or `sig` is, and no " +
            "origin allows the target; or the request has a chunked body.",
          MALFORMED_QUERY,
          { otherCodes: ["unreadable_body"] },
        ),
        403: failure("Nothing was counted: the target is not allowed.", TARGET_NOT_ALLOWED),
        422: failure(
          "Nothing was counted: `to` is missing or not a page's URL; or `stream` is invalid, and no origin allows " +
            "the target.",
          INVALID_PARAMETER,
        ),
        500: internal,
      },
    }),
  },
  "/hourglass.js": {
    get: operation("getScript", "Browsers", "The script for web pages", {
      description: "Counts impressions of elements that come into view, and clicks. Its first lines explain how.",
      parameters: [IF_NONE_MATCH],
      responses: {
        200: answer("The script.", { "text/javascript": { schema: Type.String() } }, ["etag"]),
        304: notModified,
      },
    }),
  },
};

export const writePaths: Paths = { ...analyticsPaths, ...eventsPaths, ...browsersPaths };

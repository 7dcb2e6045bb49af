/** Describes /analytics: one event in, one hour out. */
import { Type } from "@sinclair/typebox";
import { REFUSAL_REASONS, type RefusalReason } from "../../domain/refusal-reasons.ts";
import { EXPECTS_IDEMPOTENCY_KEY, IDEMPOTENCY_KEY } from "../../protocol/event/idempotency-key.ts";
import { EventQuerySchema, EXPECTS_KIND, HourQuerySchema } from "../../protocol/event/query-rules.ts";
import { OUTCOME_UNKNOWN, refusalBody } from "../answers.ts";
import { TOO_LARGE_BODY } from "../ingest/analytics.ts";
import {
  answer,
  failure,
  hourSums,
  INSTANT,
  INVALID_PARAMETER,
  internal,
  JSON_TYPE,
  MALFORMED_QUERY,
  MALFORMED_SAYS,
  malformedQuery,
  members,
  operation,
  type Parameter,
  type Paths,
  queryParameters,
  refTo,
  storeAway,
} from "./parts.ts";

const OF_OTHER_STATUS: readonly RefusalReason[] = ["invalid", "unauthorized", "rate_limited"];

export const refused = failure("Nothing was counted: retry after `retry-after`.", refusalBody("journal_full"), {
  otherCodes: REFUSAL_REASONS.filter((reason) => !OF_OTHER_STATUS.includes(reason)),
  headers: ["retry-after"],
});

export const outcomeUnknown = failure(
  "The hot store did not answer in time: this counts once or never. Retry only with an `id`.",
  OUTCOME_UNKNOWN,
);

export const hourContent = {
  "text/plain": {
    schema: Type.String({
      pattern: "^unique_users,[0-9]+\\nclicks,[0-9]+\\nimpressions,[0-9]+\\n$",
      description: "three lines of a name, a comma and a number",
    }),
    example: "unique_users,2\nclicks,1\nimpressions,1\n",
  },
};

export const hourSchemas = {
  Hour: members({ from: INSTANT, to: INSTANT, stream: Type.String(), ...hourSums }),
};
const HOUR = {
  ...{ from: "2026-01-31T12:00:00Z", to: "2026-01-31T13:00:00Z", stream: "default" },
  ...{ clicks: 1, impressions: 1, ctr: 1, unique_users: 2 },
};

export const invalid = (...moreCodes: readonly string[]) =>
  failure("A parameter is missing, unknown, or invalid.", INVALID_PARAMETER, { otherCodes: moreCodes });

export const idempotencyKey: Parameter = {
  name: IDEMPOTENCY_KEY,
  in: "header",
  description: `Equivalent to \`id\`: ${EXPECTS_IDEMPOTENCY_KEY}.`,
  schema: Type.String({ minLength: 1 }),
};

export const tooLargeBody = failure("The body is too large (none is needed).", TOO_LARGE_BODY);

export const analyticsPaths: Paths = {
  "/analytics": {
    post: operation("postEvent", "Events", "Count one event", {
      description:
        `Takes ${EXPECTS_KIND}, as \`click\`, \`impression\` (names without a value) or \`event=…\`. With an ` +
        "`id`, or a header `Idempotency-Key`, the request may be repeated: the same id in the same stream counts " +
        "once within 24 hours. Without an answer the event may have been counted. A body is ignored. In a URL, `+` " +
        "is a space: send the user `a+b@x.org` as `a%2Bb@x.org`, or it differs from the one in JSON. Users are " +
        "compared byte by byte: `é` as one code point (NFC) and as two (NFD) are two users.",
      parameters: [...queryParameters(EventQuerySchema), idempotencyKey],
      responses: {
        204: answer("The event is stored, now or earlier under the same id, and in every later answer."),
        400: failure(`The request can't be read: ${MALFORMED_SAYS}; or its body was cut off.`, MALFORMED_QUERY, {
          otherCodes: ["unreadable_body"],
        }),
        413: tooLargeBody,
        422: invalid("too_many_streams"),
        500: internal,
        503: refused,
        504: outcomeUnknown,
      },
    }),
    get: operation("getHour", "Counts", "Read one hour", {
      description:
        "The UTC hour that contains the timestamp. It includes every event that was answered with 204. Without " +
        "`format`, the `accept` header decides.",
      parameters: queryParameters(HourQuerySchema),
      responses: {
        200: answer(
          "The counts of the hour.",
          { ...hourContent, [JSON_TYPE]: { schema: refTo("Hour"), example: HOUR } },
          ["hourglass-degraded"],
        ),
        400: malformedQuery,
        422: invalid(),
        500: internal,
        503: storeAway(),
      },
    }),
  },
};

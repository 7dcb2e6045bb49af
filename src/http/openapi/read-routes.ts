/** Describes the routes that read counts: GET /analytics, /series, /streams, /live, and the dashboard. */
import { Type } from "@sinclair/typebox";
import { REFUSAL_REASONS } from "../../domain/refusal-reasons.ts";
import { STEPS, WEEK_STARTS } from "../../domain/time-steps.ts";
import { ROWS_MAX } from "../../pipeline/read/cut-hours.ts";
import { tooManyGroups } from "../../pipeline/read/streams-tally.ts";
import { EXPECTS_TIME_OF_HOUR, HourQuerySchema } from "../../protocol/event/query-rules.ts";
import { InvalidParameterError } from "../../protocol/input-error.ts";
import { errorBodyOf } from "../answers.ts";
import { CONTENT_TYPES } from "../format-etag-gzip.ts";
import { LiveQuerySchema, SHARE_USED, STOPPING } from "../live/live.ts";
import { UNAVAILABLE_REASONS } from "../live/live-reader.ts";
import { ORDERS, rangeTooLarge, SeriesQuerySchema, StreamsQuerySchema } from "../query/range-requests.ts";
import {
  answer,
  type Content,
  count,
  failure,
  hourSums,
  IF_NONE_MATCH,
  INSTANT,
  INVALID_PARAMETER,
  internal,
  JSON_TYPE,
  malformedQuery,
  members,
  notModified,
  oneOf,
  operation,
  orNull,
  type Paths,
  page,
  queryParameters,
  refTo,
  storeAway,
} from "./parts.ts";

const hourContent = {
  "text/plain": {
    schema: Type.String({
      pattern: "^unique_users,[0-9]+\\nclicks,[0-9]+\\nimpressions,[0-9]+\\n$",
      description: "three lines of a name, a comma and a number",
    }),
    example: "unique_users,2\nclicks,1\nimpressions,1\n",
  },
};

const INVALID_HOUR = errorBodyOf(new InvalidParameterError("timestamp", "yesterday", EXPECTS_TIME_OF_HOUR));

const ONE_HOUR = {
  ...{ from: "2026-01-31T12:00:00Z", to: "2026-01-31T13:00:00Z", stream: "default" },
  ...{ clicks: 1, impressions: 1, ctr: 1, unique_users: 2 },
};

export const getHour = operation("getHour", "Counts", "Read one hour", {
  description:
    "The UTC hour that contains the timestamp. It includes every event that was answered with 204. Without " +
    "`format`, the `accept` header decides.",
  parameters: queryParameters(HourQuerySchema),
  responses: {
    200: answer(
      "The counts of the hour.",
      { ...hourContent, [JSON_TYPE]: { schema: refTo("Hour"), example: ONE_HOUR } },
      ["hourglass-degraded"],
    ),
    400: malformedQuery,
    422: failure("A parameter is missing, unknown, or invalid.", INVALID_HOUR),
    500: internal,
    503: storeAway(),
  },
});

const sums = {
  ...hourSums,
  unique_clickers: count("users with a click, estimated or exact like unique_users"),
  unique_viewers: count("users with an impression, estimated or exact like unique_users"),
};
const tz = Type.String({ description: "the time zone of all times here" });

const store = {
  name: Type.String({ description: "which engine" }),
  status: oneOf(["ok", "away"]),
  since: Type.Optional(Type.String({ ...INSTANT, description: "when its calls began to fail" })),
};

export const readSchemas = {
  Hour: members({ from: INSTANT, to: INSTANT, stream: Type.String(), ...hourSums }),
  Series: members({
    from: INSTANT,
    to: INSTANT,
    step: oneOf(STEPS),
    week_start: Type.Optional(oneOf(WEEK_STARTS, "only with step week")),
    tz,
    stream: Type.String(),
    exact: Type.Boolean(),
    rows: Type.Array(members({ from: INSTANT, to: INSTANT, ...sums }), {
      description: "each step that the range touches; the first and the last may be cut short",
    }),
    total: members(sums, "the whole range; unique users are a union, not a sum"),
  }),
  Streams: members({
    from: INSTANT,
    to: INSTANT,
    tz,
    stream: Type.String(),
    depth: orNull<number>("integer", "null if not given"),
    order: oneOf(ORDERS),
    limit: Type.Integer(),
    streams: Type.Array(members({ stream: Type.String(), ...sums, last_hour: INSTANT }), {
      description: "at most `limit` streams, the highest first",
    }),
    total: members({ streams: count("all streams, also beyond `limit`"), ...sums }, "sums over all streams"),
  }),
  Live: members(
    {
      at: INSTANT,
      stream: Type.String(),
      hour: Type.Union([members({ from: INSTANT, to: INSTANT, ...hourSums }), Type.Null()]),
      history: Type.Optional(
        Type.Array(members({ at: INSTANT, ...hourSums }), {
          description: "only in the first message: readings of this hour within the last minute",
        }),
      ),
      degraded: Type.Optional(oneOf(["hot-store-away"], "acknowledged events may be missing")),
      unavailable: Type.Optional(oneOf(UNAVAILABLE_REASONS, "why there is no hour")),
      refusal: Type.Optional(oneOf(REFUSAL_REASONS, "why events are refused now")),
      hot_store: members(store),
      cold_store: members({ ...store, error: Type.Optional(Type.String()) }),
      ledger: Type.Optional(
        members(
          {
            instance: refTo("InstanceLedger"),
            stores: Type.Union([refTo("StoresLedger"), Type.Null()], { description: "null: not read yet" }),
          },
          "covers all streams; missing for a key that is limited to some",
        ),
      ),
      sources: Type.Optional(refTo("Sources")),
    },
    "The data of an event of GET /live.",
  ),
};

const RANGE_TOO_LARGE = rangeTooLarge(tooManyGroups());
const USERS = { unique_users: 3, unique_clickers: 1, unique_viewers: 3 };
const HOUR = { clicks: 1, impressions: 4, ctr: 0.25, ...USERS };
const SERIES = {
  ...{ from: "2026-01-31T12:00:00Z", to: "2026-01-31T13:00:00Z", step: "hour", tz: "UTC", stream: "shop.*" },
  exact: false,
  rows: [{ from: "2026-01-31T12:00:00Z", to: "2026-01-31T13:00:00Z", ...HOUR }],
  total: HOUR,
};
const STREAMS = {
  ...{ from: "2026-01-31T00:00:00Z", to: "2026-02-01T00:00:00Z", tz: "UTC" },
  ...{ stream: "shop.*", depth: null, order: "clicks", limit: 1 },
  streams: [{ stream: "shop.spring", ...HOUR, last_hour: "2026-01-31T12:00:00Z" }],
  total: { streams: 2, ...HOUR },
};

const EVENT = {
  at: "2026-01-31T12:30:00.000Z",
  stream: "shop.*",
  hour: {
    ...{ from: "2026-01-31T12:00:00Z", to: "2026-01-31T13:00:00Z" },
    ...{ clicks: 1, impressions: 4, ctr: 0.25, unique_users: 3 },
  },
};

function csv(row: object): Content {
  const schema = Type.String({ description: "a line of names, then one line per row" });
  const example = `${Object.keys(row).join()}\n${Object.values(row).join()}\n`;
  return { [CONTENT_TYPES.csv.split(";", 1)[0]!]: { schema, example } };
}

const otherAnswers = {
  304: notModified,
  400: malformedQuery,
  422: failure("A parameter is unknown or invalid; or the range is too large to be answered.", RANGE_TOO_LARGE, {
    otherCodes: [INVALID_PARAMETER.code],
  }),
  500: internal,
  503: storeAway("overloaded"),
};
const CACHING =
  "If all hours are over, the answer has an `etag`. It may be cached but must be revalidated, as late events count.";
const WHOLE_HOURS = "`from` is rounded down and `to` up to a whole UTC hour.";
const HOURS_OF_ZONE =
  "`from` is rounded down and `to` up to a whole hour of the time zone. In a zone that is not whole hours from UTC " +
  "(India, Nepal, Newfoundland), a step may begin within a UTC hour: the parts of such an hour are counted from its " +
  `stored events. If these hours have more than ${ROWS_MAX} events in total, or their events are no longer ` +
  "retained, the answer is 422: request longer steps, or a time zone of whole hours.";
const FORMAT = "Without `format`, the `accept` header decides.";

export const readPaths: Paths = {
  "/series": {
    get: operation("getSeries", "Counts", "Read a range of hours, step by step", {
      description: `For one stream, or a branch (\`shop.*\`). ${HOURS_OF_ZONE} ${FORMAT} ${CACHING}`,
      parameters: [...queryParameters(SeriesQuerySchema), IF_NONE_MATCH],
      responses: {
        200: answer(
          "The counts of each step and in total. `text/plain`: only the total.",
          { [JSON_TYPE]: { schema: refTo("Series"), example: SERIES }, ...csv(SERIES.rows[0]!), ...hourContent },
          ["hourglass-degraded", "etag"],
        ),
        ...otherAnswers,
      },
    }),
  },
  "/streams": {
    get: operation("getStreams", "Counts", "List streams, highest first", {
      description:
        `All streams with events in the range; by default the last 24 hours. ${WHOLE_HOURS} With \`depth\`, streams ` +
        "that share their first parts, as many as it says, are combined. Dots separate parts, except at the start of " +
        `a name. ${FORMAT} ${CACHING}`,
      parameters: [...queryParameters(StreamsQuerySchema), IF_NONE_MATCH],
      responses: {
        200: answer(
          "The streams with their counts.",
          { [JSON_TYPE]: { schema: refTo("Streams"), example: STREAMS }, ...csv(STREAMS.streams[0]!) },
          ["hourglass-degraded", "etag"],
        ),
        ...otherAnswers,
      },
    }),
  },
  "/live": {
    get: operation("watchHour", "Counts", "Watch the current hour", {
      description:
        "Endless server-sent events, at most one a second. The data of each is JSON with the schema Live. For one " +
        "stream, or a branch (`shop.*`). A stream is read at most once a second for all its viewers. A slow reader " +
        "skips events, since each replaces the one before. Lines that start with a colon are comments. The feed ends " +
        "when its key is revoked or expires.",
      parameters: queryParameters(LiveQuerySchema),
      responses: {
        200: answer("The stream of events begins.", {
          "text/event-stream": {
            schema: Type.String({ description: "`data:`, a Live object, and an empty line" }),
            example: `data: ${JSON.stringify(EVENT)}\n\n`,
          },
        }),
        400: malformedQuery,
        422: failure("A parameter is unknown or invalid.", INVALID_PARAMETER),
        429: failure(
          "This key or address watches too many streams, or has sent too many requests: retry after `retry-after`.",
          SHARE_USED,
          { otherCodes: ["rate_limited"], headers: ["retry-after"] },
        ),
        500: internal,
        503: failure(
          "Too many streams are watched, the instance is shutting down, or the API keys are not known yet.",
          STOPPING,
          { otherCodes: ["overloaded", "cold_store_away"], headers: ["retry-after"] },
        ),
      },
    }),
  },
  "/": {
    get: operation("getDashboard", "Counts", "The dashboard", {
      description:
        "Its address says what to show: `stream`, `range` (or `from` and `to`), `step`, `metric`, `order`, `tz`, " +
        "`compare` and `week_start`.",
      parameters: [IF_NONE_MATCH],
      responses: {
        200: page,
        304: notModified,
      },
    }),
  },
};

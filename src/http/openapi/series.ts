/** Describes GET /series and GET /streams: ranges of hours. */
import { Type } from "@sinclair/typebox";
import { STEPS, WEEK_STARTS } from "../../domain/time-steps.ts";
import { CONTENT_TYPES } from "../negotiation.ts";
import { SeriesQuerySchema, StreamsQuerySchema } from "../query/range/schemas.ts";
import { hourContent } from "./analytics.ts";
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
  queryParameters,
  refTo,
  storeAway,
} from "./parts.ts";

const sums = {
  ...hourSums,
  unique_clickers: count("users with a click, estimated or exact like unique_users"),
  unique_viewers: count("users with an impression, estimated or exact like unique_users"),
};
const tz = Type.String({ description: "the time zone of all times here" });

export const rangesSchemas = {
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
    order: oneOf(["clicks", "impressions", "ctr", "unique_users", "name"]),
    limit: Type.Integer(),
    streams: Type.Array(members({ stream: Type.String(), ...sums, last_hour: INSTANT }), {
      description: "at most `limit` streams, the highest first",
    }),
    total: members({ streams: count("all streams, also beyond `limit`"), ...sums }, "sums over all streams"),
  }),
};

const RANGE_TOO_LARGE = {
  code: "range_too_large",
  message: "the range has more than 10000 streams with events: request fewer hours or a narrower branch",
};
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
  "stored events. If these hours have more than 1,000,000 events in total, or their events are no longer " +
  "retained, the answer is 422: request longer steps, or a time zone of whole hours.";
const FORMAT = "Without `format`, the `accept` header decides.";

export const rangesPaths: Paths = {
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
        `whose names begin with the same number of parts (between dots) are combined. ${FORMAT} ${CACHING}`,
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
};

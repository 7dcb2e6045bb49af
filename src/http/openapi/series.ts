/** GET /series and GET /streams, described: ranges of hours. */
import { Type } from "@sinclair/typebox";
import { STEPS } from "../../domain/steps.ts";
import { CONTENT_TYPES, type Format } from "../media-type.ts";
import { SeriesQuerySchema, StreamsQuerySchema } from "../query/range/schemas.ts";
import { hourContent } from "./analytics.ts";
import {
  answer,
  type Content,
  count,
  failure,
  IF_NONE_MATCH,
  INSTANT,
  INVALID_PARAMETER,
  internal,
  JSON_TYPE,
  malformedQuery,
  members,
  notModified,
  oneOf,
  orNull,
  type Paths,
  queryParameters,
  refTo,
  storeAway,
} from "./parts.ts";

const sums = {
  clicks: count("events of the kind click"),
  impressions: count("events of the kind impression"),
  ctr: orNull<number>("number", "clicks per impression; null if there was none"),
  unique_users: count("of either kind: an estimate with a standard error of 0.81 % (exact with exact=1)"),
  unique_clickers: count("users with a click, estimated or exact as unique_users is"),
  unique_viewers: count("users with an impression, estimated or exact as unique_users is"),
};
const tz = Type.String({ description: "the time zone of all times here" });

export const rangesSchemas = {
  Series: members({
    from: INSTANT,
    to: INSTANT,
    step: oneOf(STEPS),
    tz,
    stream: Type.String(),
    exact: Type.Boolean(),
    rows: Type.Array(members({ from: INSTANT, to: INSTANT, ...sums }), {
      description: "each step that the range touches, the first and last may be cut short",
    }),
    total: members(sums, "of the whole range: its unique users are no sum, but a union"),
  }),
  Streams: members({
    from: INSTANT,
    to: INSTANT,
    tz,
    prefix: Type.String(),
    depth: orNull<number>("integer", "null if it was not given"),
    order: oneOf(["clicks", "impressions", "ctr", "uniques", "name"]),
    limit: Type.Integer(),
    streams: Type.Array(members({ stream: Type.String(), ...sums, last_hour: INSTANT }), {
      description: "at most limit of them, the highest first",
    }),
    total: members({ streams: count("all of them, over the limit too"), ...sums }, "of all of them"),
  }),
};

const USERS = { unique_users: 3, unique_clickers: 1, unique_viewers: 3 };
const HOUR = { clicks: 1, impressions: 4, ctr: 0.25, ...USERS };
const SERIES = {
  ...{ from: "2026-01-31T12:00:00Z", to: "2026-01-31T13:00:00Z", step: "hour", tz: "UTC", stream: "shop.*" },
  exact: false,
  rows: [{ from: "2026-01-31T12:00:00Z", to: "2026-01-31T13:00:00Z", ...HOUR }],
  total: HOUR,
};
const SERIES_CSV = `from,to,clicks,impressions,ctr,unique_users,unique_clickers,unique_viewers
2026-01-31T12:00:00Z,2026-01-31T13:00:00Z,1,4,0.25,3,1,3
`;
const STREAMS = {
  ...{ from: "2026-01-31T00:00:00Z", to: "2026-02-01T00:00:00Z", tz: "UTC" },
  ...{ prefix: "shop", depth: null, order: "clicks", limit: 1 },
  streams: [{ stream: "shop.spring", ...HOUR, last_hour: "2026-01-31T12:00:00Z" }],
  total: { streams: 2, ...HOUR },
};
const STREAMS_CSV = `stream,clicks,impressions,ctr,unique_users,unique_clickers,unique_viewers,last_hour
shop.spring,1,4,0.25,3,1,3,2026-01-31T12:00:00Z
`;

function csv(example: string): Content {
  const schema = Type.String({ description: "a line of names, then a line for each row" });
  return { [typeOf("csv")]: { schema, example } };
}

function typeOf(format: Format): string {
  return CONTENT_TYPES[format].split(";", 1)[0]!;
}

/** What both can answer beside 200. */
const otherAnswers = {
  304: notModified,
  400: malformedQuery,
  422: failure(
    "A parameter is unknown or not what it has to be; or the range is too large to be answered.",
    [INVALID_PARAMETER.code, "range_too_large"],
    {
      code: "range_too_large",
      message: "the range has more than 10000 streams with events: ask for fewer hours, or for a longer prefix",
    },
  ),
  500: internal,
  503: storeAway("overloaded"),
};
const KEPT =
  "An answer about hours that are all over has an `etag`; it may be kept, but has to be asked for again, as an " +
  "event may still come for any hour.";
const WHOLE_HOURS = "`from` is moved back and `to` on to a whole UTC hour.";

export const rangesPaths: Paths = {
  "/series": {
    get: {
      operationId: "getSeries",
      tags: ["Counts"],
      summary: "Read a range of hours, step by step",
      description:
        `Of a stream, or with \`*\` at the end of all whose names begin so. ${WHOLE_HOURS} Without \`format\` the ` +
        `\`accept\` header chooses. ${KEPT}`,
      parameters: [...queryParameters(SeriesQuerySchema), IF_NONE_MATCH],
      responses: {
        200: answer(
          "The counts of each step and of the whole. `text/plain`: of the whole alone.",
          { [JSON_TYPE]: { schema: refTo("Series"), example: SERIES }, ...csv(SERIES_CSV), ...hourContent },
          ["hourglass-degraded", "etag"],
        ),
        ...otherAnswers,
      },
    },
  },
  "/streams": {
    get: {
      operationId: "getStreams",
      tags: ["Counts"],
      summary: "List streams, the best first",
      description:
        `All that have events in the range: the last 24 hours unless \`from\` says more. ${WHOLE_HOURS} With ` +
        "`depth` streams whose names begin with the same so many parts (between dots) are one. Without `format` " +
        `the \`accept\` header chooses. ${KEPT}`,
      parameters: [...queryParameters(StreamsQuerySchema), IF_NONE_MATCH],
      responses: {
        200: answer(
          "The streams with their counts.",
          { [JSON_TYPE]: { schema: refTo("Streams"), example: STREAMS }, ...csv(STREAMS_CSV) },
          ["hourglass-degraded", "etag"],
        ),
        ...otherAnswers,
      },
    },
  },
};

/** The schemas of the parameters of /series and /streams. */
import { type TProperties, Type } from "@sinclair/typebox";
import {
  ALL_STREAMS,
  DEFAULT_STREAM,
  EXPECTS_STREAM_SELECTION,
  STREAM_SELECTION_PATTERN,
} from "../../../domain/stream-rules.ts";
import { STEPS, WEEK_STARTS } from "../../../domain/time-steps.ts";
import { GROUPS_MAX } from "../../../pipeline/read/streams-tally.ts";
import { EXPECTS_TIME, TIME_PATTERN } from "../../../protocol/time-text.ts";

export const DEFAULT_ZONE = "UTC";
export const DEFAULT_LIMIT = 100;
export const EXPECTS_ZONE = "the name of a time zone (IANA), such as Europe/Berlin";
export const EXPECTS_WHOLE_QUARTERS =
  "a time zone that is whole quarters of an hour from UTC throughout the range (all are, since 1972)";

const time = { pattern: TIME_PATTERN, description: EXPECTS_TIME };
const from = Type.String({ ...time, examples: ["2020-01-10"] });
const to = Type.String({ ...time, examples: ["2020-01-11"] });

const tz = Type.String({
  pattern: "^[A-Za-z][A-Za-z0-9_+/-]{0,63}$",
  description: EXPECTS_ZONE,
  default: DEFAULT_ZONE,
});

function oneOf(...values: readonly [string, ...string[]]) {
  return Type.Optional(
    Type.Union(
      values.map((value) => Type.Literal(value)),
      { description: `one of ${values.join(", ")}`, default: values[0] },
    ),
  );
}

function streamSelection(fallback: string) {
  return Type.Optional(
    Type.String({
      pattern: STREAM_SELECTION_PATTERN,
      description: EXPECTS_STREAM_SELECTION,
      default: fallback,
    }),
  );
}

/** Unknown parameters are refused: with a misspelt `to`, the answer would be to another question. */
function parameters<P extends TProperties>(properties: P) {
  return Type.Object(properties, { additionalProperties: false });
}

export const SeriesQuerySchema = parameters({
  from,
  to: Type.Optional(to),
  step: oneOf(...STEPS),
  week_start: oneOf(...WEEK_STARTS),
  stream: streamSelection(DEFAULT_STREAM),
  tz: Type.Optional(tz),
  format: oneOf("json", "csv", "text"),
  exact: Type.Optional(Type.Literal("1", { description: "1, or absent" })),
});

export const StreamsQuerySchema = parameters({
  from: Type.Optional(from),
  to: Type.Optional(to),
  tz: Type.Optional(tz),
  order: oneOf("clicks", "impressions", "ctr", "unique_users", "name"),
  limit: Type.Optional(
    Type.String({
      pattern: "^([1-9][0-9]{0,3}|10000)$",
      description: `an integer from 1 to ${GROUPS_MAX}`,
      default: String(DEFAULT_LIMIT),
    }),
  ),
  stream: streamSelection(ALL_STREAMS),
  depth: Type.Optional(Type.String({ pattern: "^([1-9]|[12][0-9]|3[0-2])$", description: "an integer from 1 to 32" })),
  format: oneOf("json", "csv"),
});

/** Describes GET /live and GET /: the current hour as it grows. */
import { Type } from "@sinclair/typebox";
import { REFUSAL_REASONS } from "../../domain/refusal-reasons.ts";
import { REFUSALS } from "../answers.ts";
import { LiveQuerySchema, SHARE_USED } from "../live/live.ts";
import { UNAVAILABLE_REASONS } from "../live/live-reader.ts";
import {
  answer,
  failure,
  hourSums,
  IF_NONE_MATCH,
  INSTANT,
  INVALID_PARAMETER,
  internal,
  malformedQuery,
  members,
  notModified,
  oneOf,
  operation,
  type Paths,
  page,
  queryParameters,
  refTo,
} from "./parts.ts";

const store = {
  name: Type.String({ description: "which engine" }),
  status: oneOf(["ok", "away"]),
  since: Type.Optional(Type.String({ ...INSTANT, description: "when its calls began to fail" })),
};
const Hour = members({ from: INSTANT, to: INSTANT, ...hourSums });

export const liveSchemas = {
  Live: members(
    {
      at: INSTANT,
      stream: Type.String(),
      hour: Type.Union([Hour, Type.Null()]),
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

const EVENT = {
  at: "2026-01-31T12:30:00.000Z",
  stream: "shop.*",
  hour: {
    ...{ from: "2026-01-31T12:00:00Z", to: "2026-01-31T13:00:00Z" },
    ...{ clicks: 1, impressions: 4, ctr: 0.25, unique_users: 3 },
  },
};

export const livePaths: Paths = {
  "/live": {
    get: operation("watchHour", "Counts", "Watch the current hour", {
      description:
        "Endless server-sent events, one a second. The data of each is JSON with the schema Live. For one stream, or " +
        "a branch (`shop.*`). A stream is read once a second for all its viewers. A slow " +
        "reader skips events, since each replaces the one before. Lines that start with a colon are comments. " +
        "The feed ends when its key is revoked or expires.",
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
          { code: "shutting_down", message: `${REFUSALS.shutting_down}; retry later.` },
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

/** Describes /pixel.gif, /beacon, /r and /hourglass.js, which web pages use. */
import { Type } from "@sinclair/typebox";
import { EventQuerySchema } from "../../protocol/event/query-rules.ts";
import { TARGET_NOT_ALLOWED } from "../ingest/browsers.ts";
import { EXPECTS_TARGET } from "../ingest/redirect-targets.ts";
import { idempotencyKey, invalid, outcomeUnknown, refused, tooLargeBody } from "./analytics.ts";
import {
  answer,
  failure,
  IF_NONE_MATCH,
  INVALID_PARAMETER,
  internal,
  MALFORMED_QUERY,
  MALFORMED_SAYS,
  notModified,
  operation,
  type Paths,
  queryParameters,
} from "./parts.ts";

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
const notStored = {
  400: unreadable,
  422: invalid("too_many_streams"),
  500: internal,
  503: refused,
  504: outcomeUnknown,
};

export const browsersPaths: Paths = {
  "/pixel.gif": {
    get: operation("getPixel", "Browsers", "Count an impression by an image", {
      description: "For pages without scripts, and for mails. It is never cached. HEAD counts nothing.",
      parameters: queryParameters(Type.Object({ ...visit, impression })),
      responses: {
        200: answer(
          "The event is stored, unless a header explains why not.",
          { "image/gif": { schema: Type.Unsafe<string>({ type: "string" }) } },
          [NOT_COUNTED],
        ),
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

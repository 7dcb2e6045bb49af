/** /pixel.gif, /beacon, /r and /hourglass.js, described: what web pages use. */
import { Type } from "@sinclair/typebox";
import { EventQuerySchema } from "../../protocol/event/query-rules.ts";
import { EXPECTS_TARGET } from "../ingest/redirect-targets.ts";
import { invalid, outcomeUnknown, refused, tooLargeBody } from "./analytics.ts";
import {
  answer,
  failure,
  IF_NONE_MATCH,
  internal,
  MALFORMED_QUERY,
  notModified,
  type Operation,
  type Paths,
  queryParameters,
} from "./parts.ts";

const { timestamp, user, stream, id, click, impression, event } = EventQuerySchema.properties;
/** A page gives none: it has no clock to be trusted, and its visitor no name. */
const { examples: _time, ...anyTime } = timestamp;
const { examples: _user, ...anyUser } = user;
const visit = {
  timestamp: Type.Optional(anyTime),
  user: Type.Optional({ ...anyUser, description: `${user.description}; a pseudonym of the day if left out` }),
  stream: Type.Optional(stream),
  id: Type.Optional(id),
};
const NOT_COUNTED = "hourglass-not-counted";

const unreadable = failure(
  `The query can't be read: ${MALFORMED_QUERY.says}; or the body broke off, or comes in chunks with a GET.`,
  [MALFORMED_QUERY.code, "unreadable_body"],
  MALFORMED_QUERY.example,
);
const targetNotAllowed = failure("Nothing was counted: it may not lead there.", ["target_not_allowed"], {
  code: "target_not_allowed",
  message: "'to' is neither signed (by `hourglass sign-redirect`) nor of an origin in REDIRECT_ORIGINS",
});

const pixel: Operation = {
  operationId: "getPixel",
  tags: ["Browsers"],
  summary: "Count an impression by an image",
  description: "For pages without scripts, and mails. It is never cached. HEAD counts nothing.",
  parameters: queryParameters(Type.Object({ ...visit, impression })),
  responses: {
    200: answer(
      "The event is stored, unless a header says why not.",
      { "image/gif": { schema: Type.Unsafe<string>({ type: "string" }) } },
      [NOT_COUNTED],
    ),
    400: unreadable,
    422: invalid("too_many_streams"),
    500: internal,
    503: refused,
    504: outcomeUnknown,
  },
};

const beacon: Operation = {
  operationId: "postBeacon",
  tags: ["Browsers"],
  summary: "Count an event by navigator.sendBeacon",
  description: "As `POST /analytics`, but of now and of whoever sends it if nothing else is said.",
  parameters: queryParameters(
    Type.Object({ ...visit, click, impression, event: Type.Optional({ ...event, examples: ["click"] }) }),
  ),
  responses: {
    204: answer("The event is stored, unless a header says why not.", {}, [NOT_COUNTED]),
    400: unreadable,
    413: tooLargeBody,
    422: invalid("too_many_streams"),
    500: internal,
    503: refused,
    504: outcomeUnknown,
  },
};

const redirect: Operation = {
  operationId: "getRedirect",
  tags: ["Browsers"],
  summary: "Count a click, and lead to a page",
  description:
    "Only to pages that are allowed: by REDIRECT_ORIGINS, or by a signature (`hourglass sign-redirect`). Who is let " +
    "through gets there, even if the click can't be counted. Parameters that are not listed are ignored here.",
  parameters: queryParameters(
    Type.Object({
      to: Type.String({ description: EXPECTS_TARGET, examples: ["https://shop.example/spring"] }),
      sig: Type.Optional(Type.String({ description: "signature of `to` and the stream" })),
      ...visit,
    }),
  ),
  responses: {
    302: answer("The click is stored, unless a header says why not.", {}, [
      "location",
      NOT_COUNTED,
      "hourglass-outcome",
    ]),
    400: unreadable,
    403: targetNotAllowed,
    422: invalid(),
    500: internal,
  },
};

const script: Operation = {
  operationId: "getScript",
  tags: ["Browsers"],
  summary: "The script for web pages",
  description: "Counts elements that are seen, and clicks on them: see `data-hourglass-impression` in it.",
  parameters: [IF_NONE_MATCH],
  responses: {
    200: answer("The script.", { "text/javascript": { schema: Type.String() } }, ["etag"]),
    304: notModified,
  },
};

export const browsersPaths: Paths = {
  "/pixel.gif": { get: pixel },
  "/beacon": { post: beacon },
  "/r": { get: redirect },
  "/hourglass.js": { get: script },
};

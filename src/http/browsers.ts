/**
 * What is made for browsers: /pixel.gif, /beacon, /r and /hourglass.js.
 *
 * Invariant: an answer that looks like success and has counted nothing says so, and why, in the header
 * hourglass-not-counted. HEAD counts nothing and says nothing: it is asked by those who look and do not visit.
 */
import { Elysia } from "elysia";
import type { Refusal } from "../pipeline/intake.ts";
import { isReceived, UNREADABLE_BODY } from "./analytics.ts";
import {
  answerToError,
  errorAnswer,
  isRefusedInput,
  methodNotAllowed,
  NO_STORE,
  refusalAnswer,
} from "./answers.ts";
import type { AppOptions } from "./app-options.ts";
import { BrowserEvents, type Omission } from "./browser-events.ts";
import { type Query, queryOf } from "./query.ts";
import { RedirectTargets } from "./redirect-targets.ts";
import type { RequestCounts } from "./request-counts.ts";
import { snippetAnswer } from "./snippet.ts";
import type { Peers } from "./visitors.ts";

/** One transparent pixel, in 43 bytes. */
const GIF = Buffer.from("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==", "base64");
const GIF_HEADERS = {
  "content-type": "image/gif",
  "cross-origin-resource-policy": "cross-origin",
  ...NO_STORE,
};
const TARGET_NOT_ALLOWED = {
  code: "target_not_allowed",
  message: "'to' is neither signed (by `hourglass sign-redirect`) nor of an origin in REDIRECT_ORIGINS",
};

export interface BrowserCounts {
  readonly pixels: RequestCounts;
  readonly beacons: RequestCounts;
  readonly redirects: RequestCounts;
}

export function browsers(options: AppOptions, { pixels, beacons, redirects }: BrowserCounts) {
  const { pipeline, log, browserSettings } = options;
  const events = new BrowserEvents(options);
  const targets = new RedirectTargets(browserSettings);

  const answered = async (counts: RequestCounts, work: () => Promise<Response>) => {
    try {
      return counts.counted(await work());
    } catch (error) {
      if (isRefusedInput(error)) pipeline.ledger.refused.invalid += 1;
      return counts.counted(answerToError(error, log));
    }
  };

  const pixel = async (request: Request, server: Peers | null) => {
    if (request.method === "HEAD") return gifAnswer();
    const { impression = "", ...query } = queryOf(request.url);
    const why = await events.take({ ...query, impression }, events.visitOf(request, server));
    return isRefusal(why) ? refusalAnswer(why) : gifAnswer(why);
  };

  const beacon = async (request: Request, server: Peers | null) => {
    const visit = events.visitOf(request, server);
    if (request.body !== null && !(await isReceived(request))) {
      pipeline.ledger.refused.invalid += 1;
      return errorAnswer(400, UNREADABLE_BODY);
    }
    const why = await events.take(queryOf(request.url), visit);
    return isRefusal(why)
      ? refusalAnswer(why)
      : new Response(null, { status: 204, headers: notCounted(why) });
  };

  /** Who follows a link gets there, whatever becomes of the click. */
  const redirect = async (request: Request, server: Peers | null) => {
    const query = queryOf(request.url);
    const target = targets.allowed(query);
    if (target === undefined) {
      pipeline.ledger.refused.invalid += 1;
      return errorAnswer(403, TARGET_NOT_ALLOWED);
    }
    if (request.method === "HEAD") return redirectAnswer(target);
    try {
      return redirectAnswer(target, await events.take(clickOf(query), events.visitOf(request, server)));
    } catch (error) {
      if (!isRefusedInput(error)) throw error;
      pipeline.ledger.refused.invalid += 1;
      return redirectAnswer(target, { reason: "invalid" });
    }
  };

  // The context is taken apart in the handlers: Elysia reads there what they need of it.
  return new Elysia({ name: "browsers" })
    .get("/pixel.gif", async ({ request, server }) => await answered(pixels, () => pixel(request, server)))
    .all("/pixel.gif", ({ request }) => methodNotAllowed(request.method, "GET"))
    .post("/beacon", async ({ request, server }) => await answered(beacons, () => beacon(request, server)))
    .all("/beacon", ({ request }) => methodNotAllowed(request.method, "POST"))
    .get("/r", async ({ request, server }) => await answered(redirects, () => redirect(request, server)))
    .all("/r", ({ request }) => methodNotAllowed(request.method, "GET"))
    .get("/hourglass.js", ({ request }) => snippetAnswer(request));
}

type NotCounted = Omission | Pick<Refusal, "reason">;

function isRefusal(why: Refusal | Omission | undefined): why is Refusal {
  return why !== undefined && "retryAfterS" in why;
}

function notCounted(why: NotCounted | undefined): Record<string, string> {
  return why === undefined ? {} : { "hourglass-not-counted": why.reason };
}

function gifAnswer(why?: Omission): Response {
  return new Response(GIF, { headers: { ...GIF_HEADERS, ...notCounted(why) } });
}

function redirectAnswer(location: string, why?: NotCounted): Response {
  return new Response(null, { status: 302, headers: { location, ...NO_STORE, ...notCounted(why) } });
}

/** Whoever passes a link on may append to it (fbclid, utm_source): what is not known here is left out. */
function clickOf({ timestamp, user, stream, id }: Query): Query {
  return { timestamp, user, stream, id, click: "" };
}

/**
 * Routes for browsers: /pixel.gif, /beacon, /r and /hourglass.js.
 *
 * Invariant: an answer that looks like success but counted nothing says why in the header hourglass-not-counted. A
 * redirect whose click has an unknown outcome says so in hourglass-outcome. HEAD, used to check links, counts nothing.
 */
import { Elysia } from "elysia";
import { type Outcome, type Refusal, type RefusalReason, UNKNOWN } from "../../domain/refusal-reasons.ts";
import { IDEMPOTENCY_KEY } from "../../protocol/event/idempotency-key.ts";
import { checkReadable, linkQueryOf, type Query, type QueryFaults, queryOf } from "../../protocol/query-string.ts";
import type { RequestCounts } from "../../runtime/metrics.ts";
import { answerToError, errorAnswer, NO_STORE, outcomeAnswer, refusalReasonOf } from "../answers.ts";
import type { Peers } from "../requests/client-address.ts";
import type { AppOptions } from "../route-options.ts";
import { JAVASCRIPT, StaticAsset } from "../static-asset.ts";
import { faultOfBody } from "./analytics.ts";
import { BrowserEvents, type Omission } from "./browser-events.ts";
import script from "./hourglass.js" with { type: "text" };
import { RedirectTargets } from "./redirect-targets.ts";

/** A transparent pixel of 43 bytes. */
const GIF = Buffer.from("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==", "base64");
const GIF_HEADERS = {
  "content-type": "image/gif",
  "cross-origin-resource-policy": "cross-origin",
  ...NO_STORE,
};
/** Bun does not pass such a body to the handler; if the body breaks off, it answers 400 regardless of the handler. */
const CHUNKS_IN_GET = {
  code: "unreadable_body",
  message: "a GET may not have a chunked body: nothing was counted",
};
const SCRIPT_HEADERS = {
  // A day, since all versions share one address.
  "cache-control": "public, max-age=86400, stale-while-revalidate=604800",
  // For pages that load it with `crossorigin` or as a module, and for those that require this policy.
  "access-control-allow-origin": "*",
  "cross-origin-resource-policy": "cross-origin",
};
/** Other parameters are ignored, since anyone who passes a link on may append some (fbclid, utm_source). */
const LINK_PARAMETERS = new Set(["to", "sig", "timestamp", "user", "stream", "id"]);
export const TARGET_NOT_ALLOWED = {
  code: "target_not_allowed",
  message: "'to' has neither a valid signature (from `hourglass sign-redirect`) nor an origin in REDIRECT_ORIGINS",
};

interface BrowserCounts {
  readonly pixels: RequestCounts;
  readonly beacons: RequestCounts;
  readonly redirects: RequestCounts;
}

export function browsers(options: AppOptions, { pixels, beacons, redirects }: BrowserCounts) {
  const answers = new BrowserAnswers(options);
  const pageScript = new StaticAsset(new Blob([script]), JAVASCRIPT, SCRIPT_HEADERS);
  // The handlers destructure the context because Elysia inspects which parts of it they use.
  return new Elysia({ name: "browsers" })
    .get("/pixel.gif", async ({ request, server }) => {
      return await answers.counted(request, pixels, () => answers.pixel(request, server));
    })
    .post("/beacon", async ({ request, server }) => {
      return await answers.counted(request, beacons, () => answers.beacon(request, server));
    })
    .get("/r", async ({ request, server }) => {
      return await answers.counted(request, redirects, () => answers.redirect(request, server));
    })
    .get("/hourglass.js", ({ request }) => pageScript.answer(request));
}

class BrowserAnswers {
  readonly #options: AppOptions;
  readonly #events: BrowserEvents;
  readonly #targets: RedirectTargets;

  constructor(options: AppOptions) {
    this.#options = options;
    this.#events = new BrowserEvents(options);
    this.#targets = new RedirectTargets(options.browserSettings);
  }

  async pixel(request: Request, peers: Peers | null): Promise<Response> {
    if (request.method === "HEAD") return gifAnswer();
    if (isInChunks(request)) return this.#refused(errorAnswer(400, CHUNKS_IN_GET));
    const { impression = "", ...query } = queryOf(request.url);
    const why = await this.#events.take({ ...query, impression }, this.#events.visitOf(request, peers));
    return isUnstored(why) ? outcomeAnswer(why) : gifAnswer(why);
  }

  async beacon(request: Request, peers: Peers | null): Promise<Response> {
    const visit = this.#events.visitOf(request, peers);
    const fault = request.body === null ? undefined : await faultOfBody(request);
    if (fault !== undefined) return this.#refused(fault);
    const why = await this.#events.take(queryOf(request.url), visit, request.headers.get(IDEMPOTENCY_KEY));
    if (isUnstored(why)) return outcomeAnswer(why);
    return new Response(null, { status: 204, headers: notCounted(why) });
  }

  /** Redirects to the target, whatever becomes of the click. */
  async redirect(request: Request, peers: Peers | null): Promise<Response> {
    const { query, faults } = linkQueryOf(request.url, LINK_PARAMETERS);
    const target = this.#targets.allowed(query, faults);
    if (target === undefined) return this.#refused(errorAnswer(403, TARGET_NOT_ALLOWED));
    if (request.method === "HEAD") return redirectAnswer(target);
    if (isInChunks(request)) return this.#refused(errorAnswer(400, CHUNKS_IN_GET));
    try {
      const visit = this.#events.visitOf(request, peers);
      const { access } = this.#options;
      if (access?.takesFrom(visit.address) === false) return this.#redirected(target, "rate_limited");
      return redirectAnswer(target, await this.#events.take(clickOf(query, faults), visit));
    } catch (error) {
      const reason = refusalReasonOf(error);
      if (reason === undefined) throw error;
      return this.#redirected(target, reason);
    }
  }

  #redirected(target: string, reason: RefusalReason): Response {
    this.#options.pipeline.ledger.refused[reason] += 1;
    return redirectAnswer(target, { reason });
  }

  #refused(answer: Response): Response {
    this.#options.pipeline.ledger.refused.invalid += 1;
    return answer;
  }

  /** Counts the answer of `work`, or the answer to its error. */
  async counted(request: Request, counts: RequestCounts, work: () => Promise<Response>): Promise<Response> {
    const { pipeline, log } = this.#options;
    const startMs = counts.start();
    try {
      return counts.counted(await work(), startMs);
    } catch (error) {
      const reason = refusalReasonOf(error);
      if (reason !== undefined) pipeline.ledger.refused[reason] += 1;
      return counts.counted(answerToError(error, log, request), startMs);
    }
  }
}

function isInChunks({ headers }: Request): boolean {
  return headers.has("transfer-encoding");
}

type NotCounted = Omission | Pick<Refusal, "reason">;

function isUnstored(why: Outcome | Omission): why is NonNullable<Outcome> {
  return why === UNKNOWN || (why !== undefined && "retryAfterS" in why);
}

function notCounted(why: NotCounted | undefined): Record<string, string> {
  return why === undefined ? {} : { "hourglass-not-counted": why.reason };
}

function gifAnswer(why?: Omission): Response {
  return new Response(GIF, { headers: { ...GIF_HEADERS, ...notCounted(why) } });
}

function redirectAnswer(location: string, why?: NotCounted | typeof UNKNOWN): Response {
  const outcome = why?.reason === UNKNOWN.reason ? { "hourglass-outcome": UNKNOWN.reason } : notCounted(why);
  return new Response(null, { status: 302, headers: { location, ...NO_STORE, ...outcome } });
}

function clickOf({ timestamp, user, stream, id }: Query, faults: QueryFaults): Query {
  checkReadable(faults, "timestamp", "user", "stream", "id");
  return { timestamp, user, stream, id, click: "" };
}

/** POST and GET /analytics: an event in, an hour out. */
import { Elysia } from "elysia";
import type { Pipeline } from "../pipeline/pipeline.ts";
import { readEvent, readHourKey } from "./analytics-query.ts";
import { answerToError, isRefusedInput, methodNotAllowed, refusalAnswer } from "./answers.ts";
import type { AppOptions } from "./app.ts";

const TEXT = { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" };
/** Says that events which are not flushed yet are missing, since the hot store did not answer. */
const DEGRADED = { ...TEXT, "hourglass-degraded": "hot-store-away" };

export function analytics({ pipeline, log, now }: AppOptions) {
  return new Elysia({ name: "analytics" })
    .post("/analytics", async ({ request }) => {
      try {
        const outcome = await pipeline.submit(readEvent(request.url, now()));
        return outcome === undefined ? new Response(null, { status: 204 }) : refusalAnswer(outcome);
      } catch (error) {
        if (isRefusedInput(error)) pipeline.ledger.refused.invalid += 1;
        return answerToError(error, log);
      }
    })
    .get("/analytics", async ({ request }) => {
      try {
        return await hourAnswer(pipeline, request.url, now());
      } catch (error) {
        return answerToError(error, log);
      }
    })
    .all("/analytics", ({ request }) => methodNotAllowed(request.method, "GET, POST"));
}

async function hourAnswer(pipeline: Pipeline, url: string, now: number): Promise<Response> {
  const { clicks, impressions, uniqueUsers, isDegraded } = await pipeline.read(readHourKey(url, now));
  const body = `unique_users,${uniqueUsers}\nclicks,${clicks}\nimpressions,${impressions}\n`;
  return new Response(body, { headers: isDegraded ? DEGRADED : TEXT });
}

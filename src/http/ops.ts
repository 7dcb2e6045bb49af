/** What an operator or an orchestrator asks. Each answers from memory, so that it is cheap and never hangs. */
import { Elysia } from "elysia";
import type { AppOptions } from "./app-options.ts";

const NO_STORE = { "cache-control": "no-store" };

export function ops({ pipeline, now }: AppOptions) {
  return new Elysia({ name: "ops" })
    .get("/livez", () => Response.json({ status: "alive" }, { headers: NO_STORE }))
    .get("/readyz", () => {
      const { refusal, writer, flushError, oldestPendingAt } = pipeline;
      const oldestPendingMs = oldestPendingAt === undefined ? 0 : Math.max(0, now() - oldestPendingAt);
      // The flusher's state is shown apart: that the cold store is away does not stop events from coming in.
      const flusher = {
        status: flushError === undefined ? "ok" : "failing",
        error: flushError,
        oldestPendingMs,
      };
      const body = {
        status: refusal === undefined ? "ready" : "not ready",
        reason: refusal,
        writer,
        flusher,
      };
      return Response.json(body, { status: refusal === undefined ? 200 : 503, headers: NO_STORE });
    });
}

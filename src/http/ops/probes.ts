/** GET /livez and GET /readyz: answered from memory, so they are cheap and never hang. */
import { Elysia } from "elysia";
import type { BrokerSource } from "../../intake/broker-source.ts";
import type { ShardState } from "../../pipeline/pipeline.ts";
import { NO_STORE } from "../answers.ts";
import type { AppOptions } from "../route-options.ts";

export function sourceState({ name, state }: BrokerSource) {
  const { status, reason, inFlight, lags } = state;
  return { name, status, reason, under_way: inFlight, lags };
}

function shardState({ shard, refusal, writer }: ShardState) {
  return { shard, status: refusal === undefined ? "ready" : "not ready", reason: refusal, writer };
}

export function ops({ pipeline, sources }: AppOptions) {
  return new Elysia({ name: "ops" })
    .get("/livez", () => Response.json({ status: "alive" }, { headers: NO_STORE }))
    .get("/readyz", () => {
      const { unreadiness, writer, flushError, oldestPendingMs, shardStates } = pipeline;
      // Reported separately, since an unavailable cold store does not stop ingest.
      const flusher = {
        status: flushError === undefined ? "ok" : "failing",
        error: flushError,
        oldest_pending_ms: oldestPendingMs,
      };
      const body = {
        status: unreadiness === undefined ? "ready" : "not ready",
        reason: unreadiness,
        writer,
        flusher,
        // An unavailable shard refuses only its own events: some of those with an id.
        ...(shardStates.length > 1 && { shards: shardStates.map(shardState) }),
        ...(sources.length > 0 && { sources: sources.map(sourceState) }),
      };
      return Response.json(body, { status: unreadiness === undefined ? 200 : 503, headers: NO_STORE });
    });
}

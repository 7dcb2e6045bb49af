/** What an operator or an orchestrator asks. Each answers from memory, so that it is cheap and never hangs. */
import { Elysia } from "elysia";
import type { Source } from "../../intake/source.ts";
import type { ShardState } from "../../pipeline/pipeline.ts";
import { NO_STORE } from "../answers.ts";
import type { AppOptions } from "../route-options.ts";

function sourceState({ name, state }: Source) {
  const { status, reason, underWay, lags } = state;
  return { name, status, reason, under_way: underWay, lags };
}

function shardState({ shard, refusal, writer }: ShardState) {
  return { shard, status: refusal === undefined ? "ready" : "not ready", reason: refusal, writer };
}

export function ops({ pipeline, sources }: AppOptions) {
  return new Elysia({ name: "ops" })
    .get("/livez", () => Response.json({ status: "alive" }, { headers: NO_STORE }))
    .get("/readyz", () => {
      const { unreadiness, writer, flushError, oldestPendingMs, shardStates } = pipeline;
      // The flusher's state is shown apart: that the cold store is away does not stop events from coming in.
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
        // One that is away refuses its events alone: some that have an id.
        ...(shardStates.length > 1 && { shards: shardStates.map(shardState) }),
        // Nor does it, that a source is away.
        ...(sources.length > 0 && { sources: sources.map(sourceState) }),
      };
      return Response.json(body, { status: unreadiness === undefined ? 200 : 503, headers: NO_STORE });
    });
}

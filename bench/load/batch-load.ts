/** As many batches (POST /events) as the service takes: each connection sends its next one once it has its answer. */
import { readFileSync } from "node:fs";
import { BATCH_SEPARATOR } from "./workload.ts";

export interface BatchJob {
  readonly port: number;
  /** Bodies, as batchBodies() gives them. */
  readonly batchesPath: string;
  readonly connections: number;
  readonly durationMs: number;
}

export interface BatchLoadResult {
  /** Events. */
  readonly accepted: number;
  /** Answered with anything but 200: they are sent again after `retry-after`. */
  readonly refusedRequests: number;
  readonly durationMs: number;
}

export async function runBatches(job: BatchJob): Promise<BatchLoadResult> {
  const { port, batchesPath, connections, durationMs } = job;
  const bodies = readFileSync(batchesPath, "latin1").split(BATCH_SEPARATOR);
  const startMs = performance.now();
  const counts = { accepted: 0, refusedRequests: 0, sent: 0 };
  const send = async () => {
    while (performance.now() - startMs < durationMs) {
      const response = await fetch(`http://127.0.0.1:${port}/events`, {
        method: "POST",
        headers: { "content-type": "application/x-ndjson" },
        body: bodies[counts.sent++ % bodies.length]!,
      });
      const answer = (await response.json()) as { readonly accepted?: number };
      counts.accepted += answer.accepted ?? 0;
      if (response.status === 200) continue;
      counts.refusedRequests += 1;
      await Bun.sleep(1_000 * Number(response.headers.get("retry-after") ?? 1));
    }
  };
  await Promise.all(Array.from({ length: connections }, send));
  const { accepted, refusedRequests } = counts;
  return { accepted, refusedRequests, durationMs: performance.now() - startMs };
}

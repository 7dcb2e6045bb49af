/** Saturation by autocannon: everywhere and for any duration, but it is itself the limit of a fast server. */
import autocannon from "autocannon";
import { isPost, POST_HEADER, readLines } from "./requests.ts";
import type { SaturationJob, SaturationResult } from "./saturation.ts";

/** It looks whether the time is up only at the end of such a sample. */
const SAMPLES = 10;
/** Each connection holds a copy of its requests, with a buffer each. */
const REQUESTS_PER_CONNECTION_MAX = 1_000;

export async function runAutocannon(job: SaturationJob): Promise<SaturationResult> {
  const { port, connections, durationMs } = job;
  const nextRequests = dealer(readLines(job.requestsPath).map(requestOf), connections);
  let startMs = 0;
  const result = await autocannon({
    url: `http://127.0.0.1:${port}`,
    connections,
    pipelining: 1,
    duration: durationMs / 1_000,
    sampleInt: Math.max(10, Math.round(durationMs / SAMPLES)),
    setupClient: (client) => {
      client.setRequests(nextRequests());
      // Building them takes a while, and nothing is answered before the last connection has its own.
      startMs = performance.now();
    },
  });
  const failed = result.non2xx + result.errors;
  return { answered: result["2xx"], failed, durationMs: performance.now() - startMs };
}

function requestOf(line: string): autocannon.Request {
  if (!isPost(Number(line[0]))) return { method: "GET", path: line.slice(1) };
  return { method: "POST", path: line.slice(1), headers: { [POST_HEADER[0]]: POST_HEADER[1] } };
}

/** Answers another part of the requests to each connection. */
function dealer(requests: readonly autocannon.Request[], connections: number): () => autocannon.Request[] {
  const size = Math.min(Math.ceil(requests.length / connections), REQUESTS_PER_CONNECTION_MAX);
  let dealt = 0;
  return () => {
    const start = (dealt++ * size) % requests.length;
    return requests.slice(start, start + size).map((request) => ({ ...request }));
  };
}

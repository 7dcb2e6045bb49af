/** Saturation by wrk, where it is installed: it takes a fraction of what the server takes for a request. */
import { join } from "node:path";
import type { SaturationJob, SaturationResult } from "./saturation.ts";

const SCRIPT = join(import.meta.dir, "wrk.lua");
/** A count(*) over a table that grows may take long. */
const REQUEST_TIMEOUT_S = 30;
const MARK = "SUMMARY ";

interface Summary {
  readonly requests: number;
  readonly durationUs: number;
  readonly statusErrors: number;
  readonly socketErrors: number;
}

export function hasWrk(): boolean {
  return Bun.which("wrk") !== null;
}

/** It takes whole seconds. */
export async function runWrk(job: SaturationJob): Promise<SaturationResult> {
  const { port, requestsPath, connections, durationMs } = job;
  const command = [
    ...["wrk", "--threads", "1", "--connections", String(connections), "--timeout", `${REQUEST_TIMEOUT_S}s`],
    ...["--duration", `${Math.round(durationMs / 1_000)}s`, "--script", SCRIPT],
    ...[`http://127.0.0.1:${port}`, "--", requestsPath],
  ];
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const outputs = [new Response(child.stdout).text(), new Response(child.stderr).text()] as const;
  const [output, errors] = await Promise.all(outputs);
  const found = output.split("\n").find((line) => line.startsWith(MARK));
  if ((await child.exited) !== 0 || found === undefined) {
    throw new Error(`'${command.join(" ")}' failed:\n${output}${errors}`);
  }
  const summary: Summary = JSON.parse(found.slice(MARK.length));
  const { requests, durationUs, statusErrors, socketErrors } = summary;
  const failed = statusErrors + socketErrors;
  return { answered: requests - statusErrors, failed, durationMs: durationUs / 1_000 };
}

/**
 * Runs one job after the other for load-driver.ts, in a process of its own, so that starting servers and reading their
 * figures does not delay requests. Ends with the process that started it.
 */
import { errorText } from "../../src/runtime/deadline.ts";
import { runBatches } from "./batch-load.ts";
import { runConstantRate } from "./constant-rate.ts";
import type { Job, Report } from "./load-driver.ts";
import { runSaturation } from "./saturation.ts";

function report(message: Report): void {
  process.send!(message);
}

function run(job: Job): Promise<unknown> {
  if (job.kind === "saturation") return runSaturation(job);
  if (job.kind === "batches") return runBatches(job);
  return runConstantRate(job, () => report({ isStarted: true }));
}

process.on("message", (job: Job) => {
  run(job).then(
    (result) => report({ result }),
    (error) => report({ error: errorText(error) }),
  );
});
process.on("disconnect", () => process.exit());

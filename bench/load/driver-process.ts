/**
 * Runs one job after the other for load-driver.ts, in a process of its own: a driver that shares the loop of
 * who starts servers and reads their figures would measure that too. Ends with who started it.
 */
import { errorText } from "../../src/runtime/deadline.ts";
import { runAutocannon } from "./autocannon-load.ts";
import { runBatches } from "./batch-load.ts";
import { runConstantRate } from "./constant-rate.ts";
import type { Job, Report } from "./load-driver.ts";

function report(message: Report): void {
  process.send!(message);
}

function run(job: Job): Promise<unknown> {
  if (job.kind === "saturation") return runAutocannon(job);
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

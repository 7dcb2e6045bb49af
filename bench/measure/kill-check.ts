/**
 * What is lost by kill -9 under load: compares acknowledged events with the stores afterwards.
 *
 * Invariant: a candidate's internals are not inspected. It is restarted on the same stores and asked for all hours.
 * Unanswered events may be stored or not, and could hide a loss of as many; so there are never more of them than
 * connections.
 */
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { readHour } from "../../test/harness/service/analytics-client.ts";
import { waitFor } from "../../test/harness/service/wait-for.ts";
import type { Running } from "../candidates.ts";
import type { LoadDriver, Target } from "../load/load-driver.ts";
import type { KillResult } from "../results.ts";
import { waitForDrain } from "./flush.ts";
import { processTree } from "./process-tree.ts";

export interface KillCheckOptions {
  readonly running: Running;
  readonly driver: LoadDriver;
  /** The server is killed once it has acknowledged what is due in `durationMs`. */
  readonly target: Target;
  readonly ratePerS: number;
}

/** All that the workload has touched, and the turn of an hour meanwhile. */
const HOURS_BACK = 25;
const HOURS_AHEAD = 1;
const READ_TIMEOUT_MS = 60_000;

export async function checkKill({ running, driver, target, ratePerS }: KillCheckOptions): Promise<KillResult> {
  const before = await whatIsStored(running);
  const { acknowledged, inDoubt } = await driver.sendUntilKilled(target, ratePerS, () => killTree(running));
  const startMs = performance.now();
  await running.process.start();
  const restartMs = performance.now() - startMs;
  const after = await whatIsStored(running);
  const counted = after.counted - before.counted;
  const gainedRows = after.rows === undefined ? undefined : after.rows - before.rows!;
  const lost = Math.max(0, acknowledged - Math.min(counted, gainedRows ?? counted));
  return { acknowledged, inDoubt, counted, rows: gainedRows, lost, restartMs };
}

/** The first process, and at once all it had started: what is left of them would answer on. */
async function killTree({ process: server }: Running): Promise<void> {
  const pids = processTree(server.pid);
  await server.kill("SIGKILL");
  for (const pid of pids.filter((one) => one !== server.pid)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended with the first.
    }
  }
}

/** Once all are rows: after a start that includes the adoption of the journal of the killed process. */
async function whatIsStored(running: Running): Promise<{ counted: number; rows: number | undefined }> {
  await waitForDrain(running);
  const { port } = running.process;
  const currentHour = hourOf(Date.now());
  let counted = 0;
  for (let back = -HOURS_AHEAD; back <= HOURS_BACK; back++) {
    const read = () => readHour(port, currentHour - back * HOUR_MS);
    const { clicks, impressions } = await waitFor("an hour to be read", read, { timeoutMs: READ_TIMEOUT_MS });
    counted += clicks + impressions;
  }
  return { counted, rows: await running.rows?.counted() };
}

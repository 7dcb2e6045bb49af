/** Runs one plan from its first step to its last check, and returns the outcome. */
import { CHECKS, type Check, Failure } from "./check/failure.ts";
import { finish } from "./check/final.ts";
import type { Plan } from "./world/plan.ts";
import { World } from "./world/world.ts";

export interface RunOptions {
  readonly isTraced?: boolean;
  readonly checks?: ReadonlySet<Check>;
}

export interface Outcome {
  readonly seed: number;
  readonly failure: Failure | undefined;
  readonly steps: number;
  readonly simulatedMs: number;
  readonly hash: number;
  readonly trace: readonly string[];
  /** When it failed, by the plan's clock. */
  readonly endedMs: number;
}

const ALL_CHECKS: ReadonlySet<Check> = new Set(CHECKS);

export function run(plan: Plan, { isTraced = false, checks = ALL_CHECKS }: RunOptions = {}): Outcome {
  // Unavailable stores are ordinary here: a stack for each of their errors would take a tenth of the time.
  Error.stackTraceLimit = isTraced ? 20 : 0;
  const world = new World({ plan, isTraced, checks });
  const failure = failureOf(world);
  const { scheduler, trace } = world;
  if (failure !== undefined) trace.add("FAILED", `${failure.check}: ${failure.message}`);
  return {
    seed: plan.seed,
    failure,
    steps: scheduler.steps,
    simulatedMs: scheduler.nowMs - plan.startMs,
    hash: scheduler.hash,
    trace: trace.lines,
    endedMs: scheduler.nowMs,
  };
}

function failureOf(world: World): Failure | undefined {
  try {
    while (world.step(world.plan.endMs));
    finish(world);
    return undefined;
  } catch (error) {
    if (error instanceof Failure) return error;
    return new Failure("crash", error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
}

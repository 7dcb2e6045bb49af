/** Shortens a failing plan: leaves out everything without which it still fails in the same way. */
import { type Outcome, type RunOptions, run } from "./run.ts";
import type { Plan, PlannedAction, Send } from "./world/plan.ts";

/** Runs, of some milliseconds each. */
const RUNS_MAX = 2_000;

export function shorten(plan: Plan, failed: Outcome, options: RunOptions): Plan {
  const { check } = failed.failure!;
  let runs = 0;
  const fails = (shorter: Plan) => {
    runs += 1;
    return run(shorter, options).failure?.check === check;
  };
  let current = plan;
  for (let isShorter = true; isShorter && runs < RUNS_MAX; ) {
    isShorter = false;
    for (const candidate of candidates(current)) {
      if (runs >= RUNS_MAX) break;
      if (!fails(candidate)) continue;
      current = candidate;
      isShorter = true;
      break;
    }
  }
  return current;
}

/** Large pieces first. */
function* candidates(plan: Plan): Generator<Plan> {
  const { actions } = plan;
  for (let size = actions.length >> 1; size >= 1; size >>= 1) {
    for (let from = 0; from < actions.length; from += size) {
      yield { ...plan, actions: actions.toSpliced(from, size) };
    }
  }
  for (const [i, action] of actions.entries()) {
    for (const smaller of smallerActions(action)) yield { ...plan, actions: actions.with(i, smaller) };
  }
  if (plan.settings.processes > 1) {
    yield { ...plan, settings: { ...plan.settings, processes: plan.settings.processes - 1 } };
  }
}

function* smallerActions(action: PlannedAction): Generator<Send> {
  if (action.type !== "send") return;
  const { events, retries } = action;
  if (events.length > 1) yield { ...action, events: events.slice(0, events.length >> 1) };
  if (retries.length > 0) yield { ...action, retries: retries.slice(0, -1) };
}

/**
 * Runs a command, and ends it with all its children on a signal. Each command is a process group of its own: a child
 * that outlived its parent would hold ports and folders.
 */
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";

export const PROJECT_ROOT = join(import.meta.dir, "..");

/** After SIGTERM, for what a command has to put back in order. */
const TERM_GRACE_MS = 10_000;

export interface StepOptions {
  readonly signal: AbortSignal;
  readonly env?: Record<string, string | undefined>;
  /** A file that takes both outputs; if it is left out, they go to this process' own. */
  readonly outputPath?: string;
}

/** The exit code, or undefined when the command was ended before it had finished. */
export async function runStep(
  command: readonly string[],
  { signal, env, outputPath }: StepOptions,
): Promise<number | undefined> {
  if (signal.aborted) return undefined;
  // One descriptor for both outputs, which then follow each other in the file.
  const output = outputPath === undefined ? "inherit" : openSync(outputPath, "a");
  const child = Bun.spawn([...command], {
    cwd: PROJECT_ROOT,
    env: env ?? process.env,
    stdin: "ignore",
    stdout: output,
    stderr: output,
    detached: true,
  });
  let killing: Timer | undefined;
  const end = () => {
    signalGroup(child.pid, "SIGTERM");
    killing = setTimeout(() => signalGroup(child.pid, "SIGKILL"), TERM_GRACE_MS);
  };
  signal.addEventListener("abort", end, { once: true });
  const code = await child.exited;
  if (typeof output === "number") closeSync(output);
  signal.removeEventListener("abort", end);
  clearTimeout(killing);
  // What the command left running would go on beside the next one.
  signalGroup(child.pid, "SIGKILL");
  return signal.aborted ? undefined : code;
}

function signalGroup(groupId: number, name: NodeJS.Signals): void {
  try {
    process.kill(-groupId, name);
  } catch {
    // Nobody is left in the group, or it belongs to root (sudo) and ends by itself.
  }
}

/** Runs a command of the program, as its users would beside a service that is running. */
import { join } from "node:path";
import { PROJECT_ROOT } from "./project-files.ts";

export interface CommandResult {
  readonly exitCode: number;
  readonly output: string;
  readonly errors: string;
}

export async function runCommand(
  settings: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<CommandResult> {
  const child = Bun.spawn([process.execPath, join(PROJECT_ROOT, "src/main.ts"), ...args], {
    // Nothing of this process': a setting in the tester's shell must not change what is tested.
    env: { PATH: process.env["PATH"] ?? "", ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [output, errors, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { exitCode, output, errors };
}

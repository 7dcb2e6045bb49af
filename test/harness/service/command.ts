/** Runs a command of the program, as users would beside a running service. */
import { testedProgram } from "./program.ts";

export interface CommandResult {
  readonly exitCode: number;
  readonly output: string;
  readonly errors: string;
}

export interface RunningCommand {
  readonly pid: number;
  readonly result: Promise<CommandResult>;
  kill(signal: NodeJS.Signals): void;
}

export interface CommandOptions {
  /** Its standard input; none by default. */
  readonly stdin?: Uint8Array;
  /** Path of the program; if it is left out, the one that is compiled for tests. */
  readonly binary?: string;
}

export async function runCommand(
  settings: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<CommandResult> {
  return await startCommand(settings, args).result;
}

/** Killed, its exit code is 128 and the signal's number, as a shell has it. */
export function startCommand(
  settings: Readonly<Record<string, string>>,
  args: readonly string[],
  { stdin, binary }: CommandOptions = {},
): RunningCommand {
  const program = binary ?? testedProgram();
  const child = Bun.spawn([program, ...args], {
    // Nothing of this process': a setting in the tester's shell must not change what is tested.
    env: { PATH: process.env["PATH"] ?? "", ...settings },
    stdio: [stdin ?? "ignore", "pipe", "pipe"],
  });
  const result = Promise.all([child.stdout.text(), child.stderr.text(), child.exited]).then(
    ([output, errors, exitCode]) => ({ exitCode, output, errors }),
  );
  return { pid: child.pid, result, kill: (signal) => child.kill(signal) };
}

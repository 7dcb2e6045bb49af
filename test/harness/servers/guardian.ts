/**
 * Cleans up after this process, however it ends, even by kill -9, which runs no exit hook (and `bun test` never runs
 * any): a small shell in its own process group reads from a named pipe that only this process holds open. It is not a
 * child of this process, since `bun test` kills all children on a timeout.
 */
import { constants, openSync } from "node:fs";
import { join } from "node:path";

/** `cleanUp`: a shell command, to which $1 is the folder. Answers a descriptor: closed, it sets it to work. */
export function postGuardian(folder: string, cleanUp: string): number {
  const pipe = join(folder, "alive");
  runNow(["mkfifo", pipe]);
  // To write alone would wait here for the reader.
  const descriptor = openSync(pipe, constants.O_RDWR);
  // $2: the pipe, opened before the shell forks and ends, so that the guardian is at its post by then.
  const post = `exec 3<"$2"; (cat >/dev/null; ${cleanUp}) <&3 & exit 0`;
  runNow(["sh", "-c", post, "guardian", folder, pipe]);
  return descriptor;
}

function runNow(command: string[]): void {
  const { exitCode } = Bun.spawnSync(command, {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    detached: true,
  });
  if (exitCode !== 0) throw new Error(`'${command.join(" ")}' failed (${exitCode})`);
}

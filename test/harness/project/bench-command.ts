/** Runs `npm run bench` as a process. */
import { join } from "node:path";
import { PROJECT_ROOT } from "./project-files.ts";

export async function bench(...args: string[]): Promise<{ code: number; output: string; errors: string }> {
  const command = [process.execPath, join(PROJECT_ROOT, "bench", "main.ts"), ...args];
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, output, errors };
}

/** The built program, for tests of what may be different in it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROJECT_ROOT } from "../project/project-files.ts";

export interface Program {
  readonly path: string;
  delete(): void;
}

export async function buildProgram(): Promise<Program> {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-program-"));
  const path = join(folder, "hourglass");
  const command = [process.execPath, join(PROJECT_ROOT, "scripts", "build.ts"), `--outfile=${path}`];
  const child = Bun.spawn(command, { cwd: PROJECT_ROOT, stdout: "ignore", stderr: "pipe" });
  const [errors, exitCode] = await Promise.all([child.stderr.text(), child.exited]);
  if (exitCode !== 0) throw new Error(`the build failed:\n${errors}`);
  return { path, delete: () => rmSync(folder, { recursive: true, force: true }) };
}

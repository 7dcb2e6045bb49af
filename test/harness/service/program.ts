/**
 * The program that tests start. It is compiled once per source: a compiled program is up after 60 ms of CPU time, the
 * source after 500 ms, and the suite starts it hundreds of times.
 */
import { existsSync, linkSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { PROJECT_ROOT } from "../project/project-files.ts";

export interface Program {
  readonly path: string;
  delete(): void;
}

/** The built program as it is shipped, for tests of what may be different in it. */
export async function buildProgram(): Promise<Program> {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-program-"));
  const path = join(folder, "hourglass");
  build(path);
  return { path, delete: () => rmSync(folder, { recursive: true, force: true }) };
}

const BUILD_SCRIPT = join(PROJECT_ROOT, "scripts", "build.ts");

function build(path: string): void {
  const command = [process.execPath, BUILD_SCRIPT, `--outfile=${path}`];
  const { exitCode, stderr } = Bun.spawnSync(command, {
    cwd: PROJECT_ROOT,
    stdout: "ignore",
    stderr: "pipe",
  });
  if (exitCode !== 0) throw new Error(`the build failed:\n${stderr}`);
}

let programPath: string | undefined;

/** The path of the program that is compiled from the present source. */
export function testedProgram(): string {
  programPath ??= compiledProgram();
  return programPath;
}

/** Built aside and linked: another process sees the whole program or none, and the first one stays. */
function compiledProgram(): string {
  const path = join(tmpdir(), `hourglass-program-${userInfo().uid}-${sourceHash()}`);
  if (existsSync(path)) return path;
  const aside = mkdtempSync(`${path}-building-`);
  try {
    build(join(aside, "hourglass"));
    linkSync(join(aside, "hourglass"), path);
  } catch (error) {
    if (!existsSync(path)) throw error;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  return path;
}

function sourceHash(): string {
  const hash = new Bun.CryptoHasher("sha256").update(Bun.version_with_sha);
  const sources = Array.from(new Bun.Glob("src/**").scanSync({ cwd: PROJECT_ROOT, onlyFiles: true })).sort();
  for (const path of [...sources, "package.json", "package-lock.json", "scripts/build.ts"]) {
    const file = join(PROJECT_ROOT, path);
    if (existsSync(file)) hash.update(`\0${path}\0`).update(readFileSync(file));
  }
  return hash.digest("hex").slice(0, 16);
}

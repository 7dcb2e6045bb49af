/**
 * A copy of the project in a temporary folder, to be broken on purpose.
 * Invariant: after mended() it is as the project was when it was copied.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROJECT_ROOT } from "../../harness/project/project-files.ts";
import type { Edit } from "../faults/mutations.ts";

const PARTS = ["src", "test", "scripts", "bunfig.toml", "package.json", "package-lock.json", "tsconfig.json"];
/** Far above what any check takes. */
const TIMEOUT_MS = 300_000;

export interface Outcome {
  readonly exitCode: number | null;
  readonly output: string;
}

export class ScratchCopy {
  readonly #folder = mkdtempSync(join(tmpdir(), "hourglass-chaos-teeth-"));
  readonly #originals = new Map<string, string>();

  constructor() {
    for (const part of PARTS) cpSync(join(PROJECT_ROOT, part), join(this.#folder, part), { recursive: true });
    symlinkSync(join(PROJECT_ROOT, "node_modules"), join(this.#folder, "node_modules"));
  }

  /** Throws unless the text is there exactly once. */
  apply({ file, find, replace }: Edit): void {
    const path = join(this.#folder, file);
    const text = readFileSync(path, "utf8");
    const count = text.split(find).length - 1;
    if (count !== 1) {
      throw new Error(`${file} has ${count} times, not once: ${find} (the mutation has to follow the source)`);
    }
    if (!this.#originals.has(path)) this.#originals.set(path, text);
    writeFileSync(
      path,
      text.replace(find, () => replace),
    );
  }

  mend(): void {
    for (const [path, text] of this.#originals) writeFileSync(path, text);
    this.#originals.clear();
  }

  /** A group of its own, so that all of it ends when it takes too long. */
  async run(args: readonly string[]): Promise<Outcome> {
    const log = join(this.#folder, "output");
    const child = Bun.spawn([process.execPath, ...args], {
      cwd: this.#folder,
      stdin: "ignore",
      stdout: Bun.file(log),
      stderr: Bun.file(`${log}.errors`),
      detached: true,
    });
    const timer = setTimeout(() => process.kill(-child.pid, "SIGKILL"), TIMEOUT_MS);
    try {
      const exitCode = await child.exited;
      const texts = [log, `${log}.errors`].map((path) => readFileSync(path, "utf8"));
      return { exitCode: child.signalCode === null ? exitCode : null, output: texts.join("\n") };
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

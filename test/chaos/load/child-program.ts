/**
 * Load from a separate process, for suites that send much: in the judge's own, it would hold up what is judged.
 *
 * A program gets its options as JSON in its one argument, and reports as JSON on standard output.
 * Invariant: it ends with the process that started it, however that ends, since its standard input does.
 */
import { join } from "node:path";

export interface ChildProgram<Result> {
  readonly result: Promise<Result>;
  /** Ends it, if it has not ended yet. */
  stop(): Promise<void>;
}

/** `file`: beside this one. */
export function startChild<Options, Result>(file: string, options: Options): ChildProgram<Result> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, file), JSON.stringify(options)], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const result = new Response(child.stdout).text().then(async (text) => {
    const code = await child.exited;
    if (code !== 0) throw new Error(`${file} ended with ${child.signalCode ?? code}: its output is above`);
    return JSON.parse(text) as Result;
  });
  result.catch(() => {});
  const stop = async () => {
    child.kill("SIGKILL");
    await child.exited;
  };
  return { result, stop };
}

/** Runs such a program: it exits with 0 after its answer, and at once if its parent is gone. */
export async function runAsChild<Options, Result>(work: (options: Options) => Promise<Result>): Promise<never> {
  void endWithParent();
  const result = await work(JSON.parse(process.argv[2]!) as Options);
  await Bun.write(Bun.stdout, JSON.stringify(result));
  process.exit(0);
}

async function endWithParent(): Promise<never> {
  for await (const _ of Bun.stdin.stream());
  process.exit(1);
}

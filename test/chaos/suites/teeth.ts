/**
 * Would it be noticed? Each promise is broken on purpose in a copy of the project. The suite or test that guards it
 * must fail on that, and pass on the unchanged copy.
 */
import { errorText } from "../../../src/runtime/error-text.ts";
import { whyServersCannotRun } from "../../harness/servers/binaries.ts";
import { type Check, MUTATIONS, type Mutation } from "../faults/mutations.ts";
import { ScratchCopy } from "../site/scratch-copy.ts";
import { type Report, type Say, secondsSince } from "../verdict/report.ts";

export interface TeethOptions {
  /** Names of mutations; all if none is given. */
  readonly only: readonly string[];
  readonly seed: number;
  readonly say: Say;
}

const SHOWN_CHARS = 110;
const OUTPUT_TAIL_CHARS = 2_000;
const INDENT = " ".repeat(6);

export async function runTeeth({ only, seed, say }: TeethOptions): Promise<Report> {
  const skipped = whyServersCannotRun(["redis", "mariadb", "rabbitmq"]);
  if (skipped !== undefined) return { name: "teeth", seed, figures: {}, problems: [], skipped };
  const unknown = only.filter((name) => !MUTATIONS.some((mutation) => mutation.name === name));
  if (unknown.length > 0) {
    const known = MUTATIONS.map(({ name }) => name).join(", ");
    throw new Error(`there is no mutation '${unknown.join("', '")}': there are ${known}`);
  }
  const chosen = MUTATIONS.filter(({ name }) => only.length === 0 || only.includes(name));
  const copy = new ScratchCopy();
  try {
    return await bite(copy, chosen, { only, seed, say });
  } finally {
    copy.close();
  }
}

async function bite(copy: ScratchCopy, chosen: readonly Mutation[], options: TeethOptions): Promise<Report> {
  const { seed, say } = options;
  const problems: string[] = [];
  const figures: Record<string, string> = {};
  for (const [i, check] of [...new Set(chosen.map((mutation) => mutation.check))].entries()) {
    say(`as it is: ${commandText(check)}`);
    const startMs = performance.now();
    const failures = await passProblems(copy, check);
    problems.push(...failures);
    const verdict = failures.length === 0 ? "passes" : "FAILS";
    figures[`as it is, ${i + 1}`] = `${verdict} (${secondsSince(startMs)} s)  ${commandText(check)}`;
  }
  for (const mutation of chosen) {
    say(`broken: ${mutation.promise}`);
    const startMs = performance.now();
    const noticed = await noticedBy(copy, mutation).catch((error: unknown) => {
      problems.push(`${mutation.name}: ${errorText(error)}`);
      return "NOT NOTICED";
    });
    const lines = [mutation.promise, commandText(mutation.check), `${noticed} (${secondsSince(startMs)} s)`];
    figures[mutation.name] = lines.join(`\n${INDENT}`);
  }
  return { name: "teeth", seed, figures, problems };
}

function commandText({ args }: Check): string {
  return `bun ${args.map((arg) => (arg.includes(" ") ? `"${arg}"` : arg)).join(" ")}`;
}

async function passProblems(copy: ScratchCopy, check: Check): Promise<string[]> {
  const { exitCode, output } = await copy.run(check.args);
  if (exitCode === 0 && check.passed.test(output)) return [];
  const tail = output.slice(-OUTPUT_TAIL_CHARS);
  return [`'${commandText(check)}' does not pass on the project as it is (${exitCode}):\n${tail}`];
}

/** Returns the check's message. Throws if it passed, or failed for another reason. */
async function noticedBy(copy: ScratchCopy, { edits, check }: Mutation): Promise<string> {
  try {
    for (const edit of edits) copy.apply(edit);
    const { exitCode, output } = await copy.run(check.args);
    const noticed = check.noticed.exec(output)?.[0];
    if (exitCode !== 0 && noticed !== undefined) return noticed.trim().slice(0, SHOWN_CHARS);
    const tail = output.slice(-OUTPUT_TAIL_CHARS);
    throw new Error(`'${commandText(check)}' did not notice it (${exitCode}):\n${tail}`);
  } finally {
    copy.mend();
  }
}

/** The commands that list, replay and drop what the cold store has set aside: dead letters and poison. */
import { type Command, InvalidArgumentError } from "commander";
import type { Config } from "../../settings/settings.ts";
import { exitWith } from "../arguments.ts";
import { amount } from "./amounts.ts";
import { print } from "./output.ts";

interface Numbered {
  readonly number: number;
}

export interface SetAside<T extends Numbered> {
  /** The singular in messages; `several`: the plural. */
  readonly what: string;
  readonly several: string;
  readonly perRead: number;
  /** Ordered by number, above `after`. */
  read(after: number, limit: number): Promise<readonly T[]>;
  text(one: T): string;
  /** Returns why it is refused, "replayed" if another replay was faster, or undefined if it counts now. */
  replay(one: T): Promise<{ readonly refused: string } | "replayed" | undefined>;
  /** Returns false if there was nothing to drop. */
  drop(one: T): Promise<boolean>;
}

interface SetAsideOptions {
  readonly url?: string;
}

/** Opens the stores for `work`, which returns the exit code. */
type Open<T extends Numbered> = (
  config: Config,
  options: SetAsideOptions,
  work: (setAside: SetAside<T>) => Promise<number>,
) => Promise<number>;

/** Describes `list`, its option --json, and `replay`. */
interface Help {
  readonly list: string;
  readonly json: string;
  readonly replay: string;
}

/** Returns the command `replay`, which may take further options. */
export function addSetAside<T extends Numbered>(group: Command, help: Help, open: Open<T>): Command {
  group
    .command("list")
    .description(help.list)
    .option("--json", help.json, false)
    .action(exitWith((config, { json }: { json: boolean }) => open(config, {}, (setAside) => listAll(setAside, json))));
  const withChoice = (name: string, work: (setAside: SetAside<T>, choice: Choice) => Promise<number>) =>
    group
      .command(name)
      .argument("[numbers...]", "the numbers that `list` shows", numberArgument)
      .option("--all", "all of them", false)
      .action(
        exitWith((config, numbers: number[], options: SetAsideOptions & { all: boolean }, command: Command) => {
          const choice = choiceOf(numbers, options.all, command);
          return open(config, options, (setAside) => work(setAside, choice));
        }),
      );
  const replay = withChoice("replay", replayChosen).description(
    `${help.replay}, once the cause is fixed; exits with 1 if one is refused again`,
  );
  withChoice("drop", dropChosen).description("delete them: they will never be counted");
  return replay;
}

interface Choice {
  readonly numbers: readonly number[];
  readonly all: boolean;
}

/** Ends the process unless either numbers or --all is given. */
function choiceOf(numbers: number[] = [], all: boolean, command: Command): Choice {
  if (all === numbers.length > 0) command.error("error: give either numbers or --all");
  return { numbers, all };
}

function numberArgument(text: string, earlier: number[] = []): number[] {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError("Expected the numbers that `list` shows.");
  return [...earlier, Number(text)];
}

async function listAll<T extends Numbered>(setAside: SetAside<T>, isJson: boolean): Promise<number> {
  let count = 0;
  for await (const one of every(setAside)) {
    count += 1;
    print(isJson ? JSON.stringify(one) : setAside.text(one));
  }
  if (!isJson) print(amount(count, setAside.what, setAside.several));
  return 0;
}

async function replayChosen<T extends Numbered>(setAside: SetAside<T>, choice: Choice): Promise<number> {
  let [replayed, refused] = [0, 0];
  for await (const one of chosen(setAside, choice)) {
    const outcome = await setAside.replay(one);
    if (outcome === undefined) replayed += 1;
    if (typeof outcome !== "object") continue;
    refused += 1;
    print(`${one.number}: refused again: ${outcome.refused}`);
  }
  print(`${replayed} replayed, ${refused} refused`);
  return refused === 0 && isAll(choice, replayed) ? 0 : 1;
}

async function dropChosen<T extends Numbered>(setAside: SetAside<T>, choice: Choice): Promise<number> {
  let dropped = 0;
  for await (const one of chosen(setAside, choice)) dropped += Number(await setAside.drop(one));
  print(`${dropped} dropped`);
  return isAll(choice, dropped) ? 0 : 1;
}

async function* every<T extends Numbered>({ perRead, read }: SetAside<T>): AsyncGenerator<T> {
  for (let after = 0; ; ) {
    const some = await read(after, perRead);
    yield* some;
    const last = some.at(-1);
    if (last === undefined) return;
    after = last.number;
  }
}

async function* chosen<T extends Numbered>(setAside: SetAside<T>, { numbers, all }: Choice): AsyncGenerator<T> {
  if (all) return yield* every(setAside);
  for (const number of numbers) {
    const [one] = await setAside.read(number - 1, 1);
    if (one?.number === number) yield one;
    else console.error(`There is no ${setAside.what} ${number}: it may have been replayed or dropped before`);
  }
}

function isAll({ numbers, all }: Choice, count: number): boolean {
  return all || count === numbers.length;
}

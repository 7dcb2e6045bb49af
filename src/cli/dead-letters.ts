/** `hourglass dead-letters`: events whose rows the cold store refused. */
import type { Command } from "commander";
import { hourOf } from "../domain/event.ts";
import type { Config } from "../settings/settings.ts";
import type { DeadLetter } from "../store/cold/dead-letter-store.ts";
import { addChoice, type Choice, choiceOf, exitWith } from "./arguments.ts";
import { chosen, every, isAll, type SetAside } from "./shared/set-aside.ts";
import { type OpenStores, withStores } from "./shared/with-stores.ts";

const LETTERS_PER_READ = 500;

function lettersOf({ cold }: OpenStores): SetAside<DeadLetter> {
  const read = (after: number, limit: number) => cold.deadLetters(after, limit);
  return { what: "dead letter", perRead: LETTERS_PER_READ, read };
}

export function addDeadLetters(program: Command): void {
  const deadLetters = program
    .command("dead-letters")
    .description("acknowledged events whose rows the cold store refused");
  deadLetters
    .command("list")
    .description("show them, and why they were refused")
    .option("--json", "a JSON object a line", false)
    .action(exitWith((config, { json }: { json: boolean }) => listDeadLetters(config, json)));
  addChoice(deadLetters.command("replay"))
    .description("store and count them now, once the reason is gone; exits with 1 if one is refused again")
    .action(
      exitWith((config, numbers, { all }, command) => replayDeadLetters(config, choiceOf(numbers, all, command))),
    );
  addChoice(deadLetters.command("drop"))
    .description("delete them: they will never be counted")
    .action(exitWith((config, numbers, { all }, command) => dropDeadLetters(config, choiceOf(numbers, all, command))));
}

/** Each command answers the exit code. */
async function listDeadLetters(config: Config, isJson: boolean): Promise<number> {
  return await withStores(config, async (stores) => {
    let count = 0;
    for await (const letter of every(lettersOf(stores))) {
      count += 1;
      console.log(isJson ? JSON.stringify(letter) : letterText(letter));
    }
    if (!isJson) console.log(`${count} dead letters`);
    return 0;
  });
}

async function replayDeadLetters(config: Config, choice: Choice): Promise<number> {
  return await withStores(config, async (stores) => {
    let [replayed, refused] = [0, 0];
    for await (const letter of chosen(lettersOf(stores), choice)) {
      const result = await stores.cold.replayDeadLetter(letter.number);
      if (result.status === "refused") console.log(`${letter.number}: refused again: ${result.reason}`);
      if (result.status === "refused") refused += 1;
      if (result.status !== "replayed") continue;
      replayed += 1;
      await retireHour(stores, letter);
    }
    console.log(`${replayed} replayed, ${refused} refused`);
    return refused === 0 && isAll(choice, replayed) ? 0 : 1;
  });
}

async function dropDeadLetters(config: Config, choice: Choice): Promise<number> {
  return await withStores(config, async (stores) => {
    let dropped = 0;
    for await (const letter of chosen(lettersOf(stores), choice)) {
      if (!(await stores.cold.dropDeadLetter(letter.number))) continue;
      dropped += 1;
      await retireHour(stores, letter);
    }
    console.log(`${dropped} dropped`);
    return isAll(choice, dropped) ? 0 : 1;
  });
}

/**
 * The hot store may hold the hour with the event (from its commit) or without it (loaded from the cold store), so each
 * shard loads its part again. A shard that can't retire the hour now, since it has unflushed events of it, will differ
 * until `verify --repair`.
 */
async function retireHour({ hotShards = [] }: OpenStores, { event }: DeadLetter): Promise<void> {
  const key = { stream: event.stream, hour: hourOf(event.at) };
  await Promise.all(hotShards.map((hot) => hot.retireHour(key)));
}

function letterText({ number, event, reason, setAsideAt }: DeadLetter): string {
  const { stream, at, kind, user, id } = event;
  const text = `${number}  ${new Date(at).toISOString()}  ${stream}  ${kind}  user ${JSON.stringify(user)}`;
  return `${text}${id === undefined ? "" : `  id ${JSON.stringify(id)}`}\n    set aside ${setAsideAt}: ${reason}`;
}

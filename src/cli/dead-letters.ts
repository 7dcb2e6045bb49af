/** `hourglass dead-letters`: events whose rows the cold store refused. */
import type { Command } from "commander";
import { hourOf } from "../domain/event.ts";
import type { Config } from "../settings/settings.ts";
import type { DeadLetter } from "../store/cold.ts";
import { addChoice, type Choice, choiceOf, exitWith } from "./arguments.ts";
import { dropChosen, listAll, replayChosen, type SetAside } from "./shared/set-aside.ts";
import { type OpenStores, withStores } from "./shared/with-stores.ts";

const LETTERS_PER_READ = 500;

function lettersOf({ cold }: OpenStores): SetAside<DeadLetter> {
  const read = (after: number, limit: number) => cold.deadLetters(after, limit);
  return { what: "dead letter", several: "dead letters", perRead: LETTERS_PER_READ, read, text: letterText };
}

export function addDeadLetters(program: Command): void {
  const deadLetters = program
    .command("dead-letters")
    .description("acknowledged events whose rows the cold store refused");
  deadLetters
    .command("list")
    .description("show them, and why they were refused")
    .option("--json", "one JSON object per line", false)
    .action(
      exitWith((config, { json }: { json: boolean }) =>
        withStores(config, (stores) => listAll(lettersOf(stores), json)),
      ),
    );
  addChoice(deadLetters.command("replay"))
    .description("store and count them, once the cause is fixed; exits with 1 if one is refused again")
    .action(exitWith((config, numbers, { all }, command) => replay(config, choiceOf(numbers, all, command))));
  addChoice(deadLetters.command("drop"))
    .description("delete them: they will never be counted")
    .action(exitWith((config, numbers, { all }, command) => drop(config, choiceOf(numbers, all, command))));
}

async function replay(config: Config, choice: Choice): Promise<number> {
  return await withStores(config, (stores) =>
    replayChosen(lettersOf(stores), choice, async (letter) => {
      const result = await stores.cold.replayDeadLetter(letter.number);
      if (result.status === "refused") return { refused: result.reason };
      if (result.status === "unknown") return "replayed";
      await retireHour(stores, letter);
      return undefined;
    }),
  );
}

async function drop(config: Config, choice: Choice): Promise<number> {
  return await withStores(config, (stores) =>
    dropChosen(lettersOf(stores), choice, async (letter) => {
      const isDropped = await stores.cold.dropDeadLetter(letter.number);
      if (isDropped) await retireHour(stores, letter);
      return isDropped;
    }),
  );
}

/**
 * The hot store may hold the hour with the event (from its commit) or without it (loaded from the cold store). So each
 * shard drops its part, to load it again. A shard with unflushed events of the hour differs until `verify --repair`.
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

/** `hourglass dead-letters`: events whose rows the cold store refused. */
import type { Config } from "../config.ts";
import { hourOf } from "../count/event.ts";
import type { DeadLetter } from "../store/cold.ts";
import { type OpenStores, withStores } from "./with-stores.ts";

const LETTERS_PER_READ = 500;

/** Which ones: those of these numbers, or all. */
export interface Choice {
  readonly numbers: readonly number[];
  readonly all: boolean;
}

async function* everyLetter({ cold }: OpenStores): AsyncGenerator<DeadLetter> {
  let after = 0;
  for (;;) {
    const letters = await cold.deadLetters(after, LETTERS_PER_READ);
    yield* letters;
    const last = letters.at(-1);
    if (last === undefined) return;
    after = last.number;
  }
}

async function* chosen(stores: OpenStores, { numbers, all }: Choice): AsyncGenerator<DeadLetter> {
  if (all) return yield* everyLetter(stores);
  for (const number of numbers) {
    const [letter] = await stores.cold.deadLetters(number - 1, 1);
    if (letter?.number === number) yield letter;
    else console.error(`There is no dead letter ${number}: it was replayed or dropped before`);
  }
}

/** Each command answers the exit code. */
export async function listDeadLetters(config: Config, isJson: boolean): Promise<number> {
  return await withStores(config, async (stores) => {
    let count = 0;
    for await (const letter of everyLetter(stores)) {
      count += 1;
      console.log(isJson ? JSON.stringify(letter) : letterText(letter));
    }
    if (!isJson) console.log(`${count} dead letters`);
    return 0;
  });
}

export async function replayDeadLetters(config: Config, choice: Choice): Promise<number> {
  return await withStores(config, async (stores) => {
    let [replayed, refused] = [0, 0];
    for await (const letter of chosen(stores, choice)) {
      const result = await stores.cold.replayDeadLetter(letter.number);
      if (result.status === "refused") console.log(`${letter.number}: refused again: ${result.reason}`);
      if (result.status === "refused") refused += 1;
      if (result.status !== "replayed") continue;
      replayed += 1;
      await forgetHour(stores, letter);
    }
    console.log(`${replayed} replayed, ${refused} refused`);
    return refused === 0 && (choice.all || replayed === choice.numbers.length) ? 0 : 1;
  });
}

export async function dropDeadLetters(config: Config, choice: Choice): Promise<number> {
  return await withStores(config, async (stores) => {
    let dropped = 0;
    for await (const letter of chosen(stores, choice)) {
      if (!(await stores.cold.dropDeadLetter(letter.number))) continue;
      dropped += 1;
      await forgetHour(stores, letter);
    }
    console.log(`${dropped} dropped`);
    return choice.all || dropped === choice.numbers.length ? 0 : 1;
  });
}

/**
 * The hot store may have the hour with the event, from its commit, or without, from the cold store. If it
 * can't forget it now, since events of it are not flushed, then `verify --repair` will find a difference.
 */
async function forgetHour({ hot }: OpenStores, { event: { stream, at } }: DeadLetter): Promise<void> {
  await hot?.retireHour({ stream, hour: hourOf(at) });
}

function letterText({ number, event, reason, setAsideAt }: DeadLetter): string {
  const { stream, at, kind, user, id } = event;
  const text = `${number}  ${new Date(at).toISOString()}  ${stream}  ${kind}  user ${JSON.stringify(user)}`;
  return `${text}${id === undefined ? "" : `  id ${JSON.stringify(id)}`}\n    set aside ${setAsideAt}: ${reason}`;
}

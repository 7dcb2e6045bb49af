/** `hourglass dead-letters`: events whose rows the cold store refused. */

import { hourOf } from "../domain/event.ts";
import type { Config } from "../settings/settings.ts";
import type { DeadLetter } from "../store/cold.ts";
import { type Choice, chosen, every, isAll, type SetAside } from "./stores/set-aside.ts";
import { type OpenStores, withStores } from "./stores/with-stores.ts";

const LETTERS_PER_READ = 500;

function lettersOf({ cold }: OpenStores): SetAside<DeadLetter> {
  const read = (after: number, limit: number) => cold.deadLetters(after, limit);
  return { what: "dead letter", perRead: LETTERS_PER_READ, read };
}

/** Each command answers the exit code. */
export async function listDeadLetters(config: Config, isJson: boolean): Promise<number> {
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

export async function replayDeadLetters(config: Config, choice: Choice): Promise<number> {
  return await withStores(config, async (stores) => {
    let [replayed, refused] = [0, 0];
    for await (const letter of chosen(lettersOf(stores), choice)) {
      const result = await stores.cold.replayDeadLetter(letter.number);
      if (result.status === "refused") console.log(`${letter.number}: refused again: ${result.reason}`);
      if (result.status === "refused") refused += 1;
      if (result.status !== "replayed") continue;
      replayed += 1;
      await forgetHour(stores, letter);
    }
    console.log(`${replayed} replayed, ${refused} refused`);
    return refused === 0 && isAll(choice, replayed) ? 0 : 1;
  });
}

export async function dropDeadLetters(config: Config, choice: Choice): Promise<number> {
  return await withStores(config, async (stores) => {
    let dropped = 0;
    for await (const letter of chosen(lettersOf(stores), choice)) {
      if (!(await stores.cold.dropDeadLetter(letter.number))) continue;
      dropped += 1;
      await forgetHour(stores, letter);
    }
    console.log(`${dropped} dropped`);
    return isAll(choice, dropped) ? 0 : 1;
  });
}

/**
 * The hot store may have the hour with the event, from its commit, or without, from the cold store. Whichever shard it
 * is of, each can fetch its part anew. If one can't forget it now, since events of it are not flushed, then
 * `verify --repair` will find a difference.
 */
async function forgetHour({ hotShards = [] }: OpenStores, { event }: DeadLetter): Promise<void> {
  const key = { stream: event.stream, hour: hourOf(event.at) };
  await Promise.all(hotShards.map((hot) => hot.retireHour(key)));
}

function letterText({ number, event, reason, setAsideAt }: DeadLetter): string {
  const { stream, at, kind, user, id } = event;
  const text = `${number}  ${new Date(at).toISOString()}  ${stream}  ${kind}  user ${JSON.stringify(user)}`;
  return `${text}${id === undefined ? "" : `  id ${JSON.stringify(id)}`}\n    set aside ${setAsideAt}: ${reason}`;
}

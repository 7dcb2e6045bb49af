/** `hourglass dead-letters`: events whose rows the cold store refused. */
import type { Command } from "commander";
import { hourOf } from "../domain/event.ts";
import type { DeadLetter } from "../store/cold.ts";
import { addSetAside, type SetAside } from "./shared/set-aside.ts";
import { type OpenStores, withStores } from "./shared/with-stores.ts";

const LETTERS_PER_READ = 500;

export function addDeadLetters(program: Command): void {
  const group = program.command("dead-letters").description("acknowledged events whose rows the cold store refused");
  const help = {
    list: "show them, and why they were refused",
    json: "one JSON object per line",
    replay: "store and count them",
  };
  addSetAside<DeadLetter>(group, help, (config, _options, work) =>
    withStores(config, (stores) => work(lettersOf(stores))),
  );
}

function lettersOf(stores: OpenStores): SetAside<DeadLetter> {
  const { cold } = stores;
  return {
    ...{ what: "dead letter", several: "dead letters", perRead: LETTERS_PER_READ, text: letterText },
    read: (after, limit) => cold.deadLetters(after, limit),
    replay: async (letter) => {
      const result = await cold.replayDeadLetter(letter.number);
      if (result.status === "refused") return { refused: result.reason };
      if (result.status === "unknown") return "replayed";
      await retireHour(stores, letter);
      return undefined;
    },
    drop: async (letter) => {
      const isDropped = await cold.dropDeadLetter(letter.number);
      if (isDropped) await retireHour(stores, letter);
      return isDropped;
    },
  };
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

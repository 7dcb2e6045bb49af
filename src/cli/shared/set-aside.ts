/** Lists, replays and drops what the cold store has set aside: dead letters and poison. Returns exit codes. */
import type { Choice } from "../arguments.ts";
import { amount } from "./amounts.ts";

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
}

export async function listAll<T extends Numbered>(setAside: SetAside<T>, isJson: boolean): Promise<number> {
  let count = 0;
  for await (const one of every(setAside)) {
    count += 1;
    console.log(isJson ? JSON.stringify(one) : setAside.text(one));
  }
  if (!isJson) console.log(amount(count, setAside.what, setAside.several));
  return 0;
}

/** `replay` returns why one is refused, "replayed" if another replay was faster, or undefined if it counts now. */
export async function replayChosen<T extends Numbered>(
  setAside: SetAside<T>,
  choice: Choice,
  replay: (one: T) => Promise<{ readonly refused: string } | "replayed" | undefined>,
): Promise<number> {
  let [replayed, refused] = [0, 0];
  for await (const one of chosen(setAside, choice)) {
    const outcome = await replay(one);
    if (outcome === undefined) replayed += 1;
    if (typeof outcome !== "object") continue;
    refused += 1;
    console.log(`${one.number}: refused again: ${outcome.refused}`);
  }
  console.log(`${replayed} replayed, ${refused} refused`);
  return refused === 0 && isAll(choice, replayed) ? 0 : 1;
}

/** `drop` returns false if there was nothing to drop. */
export async function dropChosen<T extends Numbered>(
  setAside: SetAside<T>,
  choice: Choice,
  drop: (one: T) => Promise<boolean>,
): Promise<number> {
  let dropped = 0;
  for await (const one of chosen(setAside, choice)) dropped += Number(await drop(one));
  console.log(`${dropped} dropped`);
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

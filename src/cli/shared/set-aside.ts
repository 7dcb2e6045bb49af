/** Dead letters and poison, each set aside in the cold store under a number: how commands walk through them. */
import type { Choice } from "../arguments.ts";

export interface SetAside<T extends { readonly number: number }> {
  /** The name of one, in messages. */
  readonly what: string;
  readonly perRead: number;
  /** In the order of their numbers, those above `after`. */
  read(after: number, limit: number): Promise<readonly T[]>;
}

export async function* every<T extends { readonly number: number }>({ perRead, read }: SetAside<T>): AsyncGenerator<T> {
  let after = 0;
  for (;;) {
    const some = await read(after, perRead);
    yield* some;
    const last = some.at(-1);
    if (last === undefined) return;
    after = last.number;
  }
}

/** Reports the numbers that are not there. */
export async function* chosen<T extends { readonly number: number }>(
  setAside: SetAside<T>,
  { numbers, all }: Choice,
): AsyncGenerator<T> {
  if (all) return yield* every(setAside);
  for (const number of numbers) {
    const [one] = await setAside.read(number - 1, 1);
    if (one?.number === number) yield one;
    else console.error(`There is no ${setAside.what} ${number}: was it replayed or dropped before?`);
  }
}

/** Whether all that were chosen were dealt with. */
export function isAll({ numbers, all }: Choice, count: number): boolean {
  return all || count === numbers.length;
}

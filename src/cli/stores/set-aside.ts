/** What was set aside in the cold store, each under a number: how the commands about it walk through it. */
export interface SetAside<T extends { readonly number: number }> {
  /** One of them, for people. */
  readonly what: string;
  readonly perRead: number;
  /** By number, from above `after` on. */
  read(after: number, limit: number): Promise<readonly T[]>;
}

/** Which ones: those of these numbers, or all. */
export interface Choice {
  readonly numbers: readonly number[];
  readonly all: boolean;
}

export async function* every<T extends { readonly number: number }>({
  perRead,
  read,
}: SetAside<T>): AsyncGenerator<T> {
  let after = 0;
  for (;;) {
    const some = await read(after, perRead);
    yield* some;
    const last = some.at(-1);
    if (last === undefined) return;
    after = last.number;
  }
}

/** Says which ones there are no more. */
export async function* chosen<T extends { readonly number: number }>(
  setAside: SetAside<T>,
  { numbers, all }: Choice,
): AsyncGenerator<T> {
  if (all) return yield* every(setAside);
  for (const number of numbers) {
    const [one] = await setAside.read(number - 1, 1);
    if (one?.number === number) yield one;
    else console.error(`There is no ${setAside.what} ${number}: it was replayed or dropped before`);
  }
}

/** Whether all that were chosen were dealt with. */
export function isAll({ numbers, all }: Choice, count: number): boolean {
  return all || count === numbers.length;
}

/**
 * Compares the rows of numbered events with the answers to their senders, in one byte per event: for runs with too many
 * events to hold as objects.
 */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { createConnection } from "mysql2";
import { ACKNOWLEDGED, type Outcomes, UNKNOWN } from "../../harness/load/outcomes.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import type { ChaosSite } from "../site/chaos-site.ts";

export interface NumberedTally {
  readonly rows: number;
  readonly lost: number;
  readonly doubled: number;
  /** Rows of events whose sender was told that nothing was counted, or that nobody sent. */
  readonly uncalledFor: number;
  /** Rows of events that were never answered. */
  readonly unknownRows: number;
}

const SELECT_USERS = "SELECT user FROM events";
const POLL_MS = 250;
const MANY = 255;

/** `runs`: by what the users' names begin with. Other users are passed over. */
export async function tallyRows(
  site: ChaosSite,
  runs: ReadonlyMap<string, Outcomes>,
): Promise<Map<string, NumberedTally>> {
  const counters = new Map(Array.from(runs, ([prefix, { end }]) => [prefix, new RowCounter(end)]));
  const pattern = new RegExp(`^(${[...runs.keys()].join("|")})(\\d+)$`);
  await eachUser(site, (user) => {
    const [, prefix = "", number] = pattern.exec(user) ?? [];
    if (number !== undefined) counters.get(prefix)!.add(Number(number));
  });
  return new Map(Array.from(runs, ([prefix, outcomes]) => [prefix, counters.get(prefix)!.tally(outcomes)]));
}

class RowCounter {
  readonly #rows: Uint8Array;
  #rowCount = 0;
  #beyond = 0;

  constructor(end: number) {
    this.#rows = new Uint8Array(end);
  }

  add(number: number): void {
    this.#rowCount += 1;
    if (number >= this.#rows.length) this.#beyond += 1;
    else if (this.#rows[number]! < MANY) this.#rows[number]! += 1;
  }

  tally(outcomes: Outcomes): NumberedTally {
    let lost = 0;
    let doubled = 0;
    let uncalledFor = this.#beyond;
    let unknownRows = 0;
    for (let number = 0; number < this.#rows.length; number++) {
      const rows = this.#rows[number]!;
      const outcome = outcomes.get(number);
      if (rows > 1) doubled += 1;
      if (outcome === ACKNOWLEDGED && rows === 0) lost += 1;
      if (outcome === UNKNOWN && rows > 0) unknownRows += 1;
      if (rows > 0 && outcome !== ACKNOWLEDGED && outcome !== UNKNOWN) uncalledFor += 1;
    }
    return { rows: this.#rowCount, lost, doubled, uncalledFor, unknownRows };
  }
}

export function tallyProblems(name: string, tally: NumberedTally): string[] {
  const { lost, doubled, uncalledFor } = tally;
  if (lost + doubled + uncalledFor === 0) return [];
  return [`${name}: ${lost} lost, ${doubled} doubled, ${uncalledFor} stored that were refused or not sent`];
}

/** Waits until there are so many rows; answers whether they came before nothing moved for `stallMs`. */
export async function rowsArrived(site: ChaosSite, atLeast: number, stallMs: number): Promise<boolean> {
  for (let last = -1; ; ) {
    const seen = last;
    const moved = waitFor("rows to come in", async () => (await site.cold.countEvents()) !== seen, {
      timeoutMs: stallMs,
      intervalMs: POLL_MS,
    });
    const hasMoved = await moved.then(() => true).catch(() => false);
    last = await site.cold.countEvents();
    if (last >= atLeast) return true;
    if (!hasMoved) return false;
  }
}

async function eachUser(site: ChaosSite, take: (user: string) => void): Promise<void> {
  if (site.servers === undefined) {
    const database = new Database(join(site.dataDir!, "cold.sqlite"), { readonly: true, strict: true });
    try {
      for (const row of database.query(SELECT_USERS).iterate()) take((row as { user: string }).user);
    } finally {
      database.close();
    }
    return;
  }
  const connection = createConnection({ uri: site.servers.mariaDb.url });
  try {
    const rows = connection.query({ sql: SELECT_USERS, rowsAsArray: true }).stream({ highWaterMark: 1_000 });
    for await (const [user] of rows) take(String(user));
  } finally {
    connection.destroy();
  }
}

/**
 * The sums of a range by stream, or by branch: names are levels separated by dots, and a branch is the first `depth`
 * levels.
 * Invariants: a branch's unique users are counted from the union of its streams' sketches, by kind. At most GROUPS_MAX
 * streams or branches are held, since each may take 32 KB.
 */
import type { HourRecord } from "../../domain/hour-range.ts";
import { type UserCounts, UserSketches } from "../../domain/unique-users/sketch.ts";
import { RangeTooLargeError, type Tally } from "./range-reader.ts";
import type { Sums } from "./series-tally.ts";

export const GROUPS_MAX = 10_000;

export interface StreamSums extends Readonly<Sums> {
  readonly stream: string;
  readonly lastHour: number;
}

interface Group {
  clicks: number;
  impressions: number;
  lastHour: number;
  readonly users: UserSketches;
}

export class StreamsTally implements Tally {
  readonly #depth: number;
  readonly #groups = new Map<string, Group>();
  readonly #users = new UserSketches();

  /** Infinity: every stream separately. */
  constructor(depth: number) {
    this.#depth = depth;
  }

  add({ stream, hour, clicks, impressions, users }: HourRecord): void {
    // The hot store may hold an hour without any events.
    if (clicks + impressions === 0) return;
    const group = this.#groupOf(branchOf(stream, this.#depth));
    group.clicks += clicks;
    group.impressions += impressions;
    group.lastHour = Math.max(group.lastHour, hour);
    group.users.merge(users);
    this.#users.merge(users);
  }

  #groupOf(name: string): Group {
    return this.#groups.getOrInsertComputed(name, () => {
      if (this.#groups.size >= GROUPS_MAX) throw tooManyGroups();
      return { clicks: 0, impressions: 0, lastHour: 0, users: new UserSketches() };
    });
  }

  settleBefore(): void {}

  streams(): StreamSums[] {
    return Array.from(this.#groups, ([stream, { clicks, impressions, lastHour, users }]) => {
      return { stream, clicks, impressions, lastHour, ...users.counts() };
    });
  }

  users(): UserCounts {
    return this.#users.counts();
  }
}

/** Dots at the beginning open no level: a branch without a name could not be asked for. */
function branchOf(stream: string, depth: number): string {
  let end = -1;
  while (stream[end + 1] === ".") end += 1;
  for (let level = 0; level < depth; level++) {
    end = stream.indexOf(".", end + 1);
    if (end === -1) return stream;
  }
  return stream.slice(0, end);
}

export function tooManyGroups(): RangeTooLargeError {
  return new RangeTooLargeError(`more than ${GROUPS_MAX} streams with events`);
}

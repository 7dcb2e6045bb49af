/**
 * Counts hours that contain the start or end of a step from their rows, since an hour's aggregate can't be split.
 * Invariants: the rows are read after the aggregates. So if there are fewer, acknowledged events are missing, and not
 * only those that have arrived meanwhile. The users of a part are a sketch, like those of whole hours, so that they can
 * be merged. A step without a whole hour keeps only their numbers: the sketches of 10,000 steps would take 320 MB.
 */
import type { StreamSelection } from "../../domain/stream-rules.ts";
import type { Steps } from "../../domain/time-steps.ts";
import { UserSketches } from "../../domain/unique-users/sketch.ts";
import type { UserHash } from "../../domain/unique-users/user-hash.ts";
import type { UserRow } from "../../store/cold.ts";
import type { MissingRows, RangeReader } from "./range-reader.ts";
import type { Lack, Series, SeriesTally, StepPart } from "./series-tally.ts";

/** Rows per request: reading them takes about 2 s, and exact users take up to 100 MB. */
export const ROWS_MAX = 1_000_000;

/** The message says which ranges can be counted from rows. */
export class NotCountableError extends Error {
  override readonly name = "NotCountableError";
}

/** `counted`: the same range, read from aggregates before. Throws like RangeReader, or NotCountableError. */
export async function readCutHours(
  ranges: RangeReader,
  steps: Steps,
  streams: StreamSelection,
  counted: SeriesTally,
): Promise<Series> {
  const hours = counted.activeHours().filter((hour) => steps.indexOfHour(hour) === undefined);
  if (hours.length === 0) return counted.series(undefined);
  const cut = new CutHours(steps, await ranges.userHash());
  cut.note(await ranges.readUsers({ hours, streams }, (row) => cut.add(row)));
  counted.addParts(cut.parts, cut.users);
  return counted.series(cut.lacks({ hours, eventCount: counted.eventsOf(hours) }));
}

export class CutHours {
  readonly parts = new Map<number, StepPart>();
  readonly users = new UserSketches();
  readonly #steps: Steps;
  readonly #hash: UserHash;
  #rowCount = 0;
  #missing: MissingRows = { erased: [], deadLetters: 0, rowsFrom: 0 };
  #openStep = 0;

  constructor(steps: Steps, hash: UserHash) {
    this.#steps = steps;
    this.#hash = hash;
  }

  /** Rows must come in order of their hours. */
  add({ hour, at, kind, user }: UserRow): void {
    this.#rowCount += 1;
    if (this.#rowCount > ROWS_MAX) throw tooManyRows();
    const step = this.#steps.indexAt(at);
    if (step === undefined) return;
    this.#settleBefore(hour);
    const part = this.#partOf(step);
    if (kind === "click") part.clicks += 1;
    else part.impressions += 1;
    const register = this.#hash.registerOf(user);
    for (const users of [this.users, part.users]) {
      if (users instanceof UserSketches) users.add(register, kind === "click");
    }
  }

  #partOf(step: number): StepPart {
    return this.parts.getOrInsertComputed(step, () => ({ clicks: 0, impressions: 0, users: new UserSketches() }));
  }

  #settleBefore(hour: number): void {
    const first = this.#steps.indexAt(Math.max(hour, this.#steps.from))!;
    for (; this.#openStep < first; this.#openStep++) {
      const part = this.parts.get(this.#openStep);
      const isDone = this.#steps.isOfParts(this.#openStep) && part?.users instanceof UserSketches;
      if (isDone) part.users = (part.users as UserSketches).counts();
    }
  }

  /** Counts erased events in the first step that overlaps their hour, since their times are unknown. */
  note(missing: MissingRows): void {
    this.#missing = missing;
    for (const { hour, clicks, impressions } of missing.erased) {
      this.#rowCount += clicks + impressions;
      const part = this.#partOf(this.#steps.indexAt(Math.max(hour, this.#steps.from))!);
      part.clicks += clicks;
      part.impressions += impressions;
    }
  }

  /** `active`: the cut hours with events. Throws NotCountableError. */
  lacks(active: ActiveHours): Lack | undefined {
    return lackOf(this.#missing, active, this.#rowCount);
  }
}

interface ActiveHours {
  readonly hours: readonly number[];
  /** As the aggregates have it. */
  readonly eventCount: number;
}

/**
 * Why events or users may be missing. `foundCount`: the rows, and the erased ones. The aggregate of an hour that was
 * loaded from the cold store has no dead letters either, so equal numbers do not say that none is missing. Throws
 * NotCountableError.
 */
export function lackOf(missing: MissingRows, active: ActiveHours, foundCount: number): Lack | undefined {
  const { hours, eventCount } = active;
  const { erased, deadLetters, rowsFrom } = missing;
  if (hours.some((hour) => hour < rowsFrom)) throw rowsNotRetained(rowsFrom);
  if (foundCount + deadLetters < eventCount) return "not-flushed-yet";
  if (deadLetters > 0) return "dead-letters";
  return erased.some(({ clicks, impressions }) => clicks + impressions > 0) ? "erased" : undefined;
}

function tooManyRows(): NotCountableError {
  return new NotCountableError(
    `a time zone of whole hours from UTC, or a range whose steps cut hours with at most ${ROWS_MAX} events: ` +
      "in this zone a step may begin within a UTC hour, whose parts are counted from the stored events",
  );
}

function rowsNotRetained(rowsFrom: number): NotCountableError {
  const day = new Date(rowsFrom).toISOString();
  return new NotCountableError(`hours whose events are still stored, which are retained from ${day} on`);
}

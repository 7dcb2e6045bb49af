/** Hours that a step cuts: each event counts in the step that contains its time, and too many are refused. */
import { expect, test } from "bun:test";
import { HOUR_MS, hourOf } from "../../../src/domain/event.ts";
import { Steps } from "../../../src/domain/time-steps.ts";
import { TimeZone } from "../../../src/domain/time-zone.ts";
import { UserSketches } from "../../../src/domain/unique-users/sketch.ts";
import { CutHours, NotCountableError, ROWS_MAX } from "../../../src/pipeline/read/cut-hours.ts";
import { SeriesTally } from "../../../src/pipeline/read/series-tally.ts";
import { TEST_USERS } from "../../harness/pipeline/test-users.ts";

const zone = TimeZone.named("Asia/Kathmandu")!;
const HALF_MS = HOUR_MS / 2;
/** 2026-01-31 and 2026-02-01, UTC+05:45. */
const [FROM, TO] = [Date.UTC(2026, 0, 30, 18, 15), Date.UTC(2026, 1, 1, 18, 15)];
const days = () => new Steps({ from: FROM, to: TO, step: "day", zone });

function row(at: number, user: string) {
  return { hour: hourOf(at), at, kind: "click", user } as const;
}

test("an event counts in the step that holds its time, or in none; users of steps unite", () => {
  const steps = days();
  const midnight = steps.starts[1]!;
  const cut = new CutHours(steps, TEST_USERS);
  for (const at of [FROM - 1, FROM, midnight - 1, midnight, TO - 1, TO]) cut.add(row(at, "ann"));
  const hours = [FROM, midnight, TO].map(hourOf);
  const tally = new SeriesTally(steps);
  for (const hour of hours) tally.add({ stream: "a", hour, clicks: 2, impressions: 0, users: new UserSketches() });
  tally.addParts(cut.parts, cut.users);
  const { rows, total, lacks } = tally.series(cut.lacks({ hours, eventCount: tally.eventsOf(hours) }));
  expect(rows.map(({ clicks, uniqueUsers }) => [clicks, uniqueUsers])).toEqual([
    [2, 1],
    [2, 1],
  ]);
  expect([total.clicks, total.uniqueUsers, lacks]).toEqual([4, 1, undefined]);
});

test("events that are not flushed yet, dead letters, erased ones, and hours without rows are told", () => {
  const steps = days();
  const seriesOf = (cut: CutHours, eventCount: number) => {
    const tally = new SeriesTally(steps);
    tally.addParts(cut.parts, cut.users);
    return tally.series(cut.lacks({ hours: [hourOf(FROM)], eventCount }));
  };
  const cut = new CutHours(steps, TEST_USERS);
  cut.add(row(FROM, "ann"));
  expect(seriesOf(cut, 2).lacks).toBe("not-flushed-yet");
  cut.note({ erased: [], deadLetters: 1, rowsFrom: 0 });
  expect(seriesOf(cut, 3).lacks).toBe("not-flushed-yet");
  expect(seriesOf(cut, 2).lacks).toBe("dead-letters");
  // An hour that was loaded from the cold store counts no dead letters.
  expect(seriesOf(cut, 1).lacks).toBe("dead-letters");
  const erased = [{ hour: hourOf(FROM), clicks: 1, impressions: 0, deadLetters: 0 }];
  cut.note({ erased, deadLetters: 0, rowsFrom: 0 });
  expect(seriesOf(cut, 2)).toMatchObject({ lacks: "erased", total: { clicks: 2 } });
  cut.note({ erased: [], deadLetters: 0, rowsFrom: TO });
  expect(() => seriesOf(cut, 2)).toThrow(NotCountableError);
});

test("more events than can be read in time are refused", () => {
  const cut = new CutHours(days(), TEST_USERS);
  for (let i = 0; i < ROWS_MAX; i++) cut.add(row(FROM + HALF_MS, "ann"));
  expect(() => cut.add(row(FROM, "ann"))).toThrow("time zone of whole hours");
});

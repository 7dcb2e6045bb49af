/**
 * Ranges cut into steps, and times of zones: on days with clock changes, at the turns of years, and in any zone
 * compared with a plain model that asks another implementation (Temporal) about every hour.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { DAY_MS, HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { type Step, Steps, type WeekStart } from "../../src/domain/time-steps.ts";
import { TimeZone } from "../../src/domain/time-zone.ts";
import { timeOf } from "../../src/protocol/time-text.ts";

function zoneOf(name: string): TimeZone {
  const zone = TimeZone.named(name);
  if (zone === undefined) throw new Error(`there is no zone ${name}`);
  return zone;
}

/** The start of each step and the end of the last, as texts. */
function cut(from: string, to: string, step: Step, name = "UTC"): string[] {
  const zone = zoneOf(name);
  const steps = new Steps({ from: timeOf(from, zone)!, to: timeOf(to, zone)!, step, zone });
  return [...steps.starts, steps.to].map((at) => zone.textOf(at));
}

function cutHoursOf(steps: Steps): number[] {
  const cutHours: number[] = [];
  for (let hour = steps.hours.from; hour < steps.hours.to; hour += HOUR_MS)
    if (steps.indexOfHour(hour) === undefined) cutHours.push(hour);
  return cutHours;
}

function hoursOf(from: string, to: string, step: Step, name = "UTC"): number[] {
  const zone = zoneOf(name);
  const steps = new Steps({ from: timeOf(from, zone)!, to: timeOf(to, zone)!, step, zone });
  return steps.starts.map((start, i) => (steps.endOf(i) - start) / HOUR_MS);
}

const ZONES = Intl.supportedValuesOf("timeZone");
/** Before it some zones had offsets with seconds; after it rules are guesses. */
const [FIRST, LAST] = [Date.UTC(1980, 0), Date.UTC(2037, 0)];
const someZone = fc.constantFrom(...ZONES, "UTC", "Etc/GMT+12", "Etc/GMT-14");
const someHour = fc.integer({ min: FIRST / HOUR_MS, max: LAST / HOUR_MS }).map((hours) => hours * HOUR_MS);
const someLocal = fc.integer({ min: FIRST / 60_000, max: LAST / 60_000 }).map((minutes) => minutes * 60_000);

function zonedTime(at: number, zone: string): Temporal.ZonedDateTime {
  return Temporal.Instant.fromEpochMilliseconds(at).toZonedDateTimeISO(zone);
}

function modelName(at: number, step: Step, zone: string): string {
  const local = zonedTime(at, zone);
  if (step === "day") return local.toPlainDate().toString();
  if (step === "week") return `${local.yearOfWeek} ${local.weekOfYear}`;
  if (step === "month") return local.toPlainDate().toPlainYearMonth().toString();
  return step === "hour" ? String(at - local.minute * 60_000) : "";
}

const QUARTER_MS = HOUR_MS / 4;

function modelStarts(from: number, to: number, step: Step, zone: string): number[] {
  const starts: number[] = [];
  let last: string | undefined;
  for (let at = from; at < to; at += QUARTER_MS) {
    const name = modelName(at, step, zone);
    if (name !== last) starts.push(at);
    last = name;
  }
  return starts;
}

describe("steps", () => {
  test("a day of Berlin has 23 hours when summer time begins, and 25 when it ends", () => {
    expect(cut("2026-03-28", "2026-03-31", "day", "Europe/Berlin")).toEqual([
      "2026-03-28T00:00:00+01:00",
      "2026-03-29T00:00:00+01:00",
      "2026-03-30T00:00:00+02:00",
      "2026-03-31T00:00:00+02:00",
    ]);
    expect(hoursOf("2026-03-28", "2026-03-31", "day", "Europe/Berlin")).toEqual([24, 23, 24]);
    expect(hoursOf("2026-10-24", "2026-10-27", "day", "Europe/Berlin")).toEqual([24, 25, 24]);
    expect(hoursOf("2026-03-23", "2026-04-06", "week", "Europe/Berlin")).toEqual([167, 168]);
    expect(hoursOf("2026-10-19", "2026-11-02", "week", "Europe/Berlin")).toEqual([169, 168]);
  });

  test("hours continue across both", () => {
    const summer = cut("2026-03-29T01:00", "2026-03-29T04:00", "hour", "Europe/Berlin");
    expect(summer.map((text) => text.slice(11))).toEqual(["01:00:00+01:00", "03:00:00+02:00", "04:00:00+02:00"]);
    const winter = cut("2026-10-25T02:00", "2026-10-25T03:00", "hour", "Europe/Berlin");
    expect(winter.map((text) => text.slice(11))).toEqual(["02:00:00+02:00", "02:00:00+01:00", "03:00:00+01:00"]);
  });

  test("an hour within which clocks change by an hour is one hour", () => {
    const spring = cut("2026-09-27T01:00", "2026-09-27T05:00", "hour", "Pacific/Chatham");
    expect(spring.map((text) => text.slice(11))).toEqual([
      "01:00:00+12:45",
      "02:00:00+12:45",
      "04:00:00+13:45",
      "05:00:00+13:45",
    ]);
    const autumn = cut("2026-04-05T02:00", "2026-04-05T04:00", "hour", "Pacific/Chatham");
    expect(autumn.map((text) => text.slice(11))).toEqual([
      "02:00:00+13:45",
      "03:00:00+13:45",
      "03:00:00+12:45",
      "04:00:00+12:45",
    ]);
  });

  test("a day without midnight begins at its first hour", () => {
    const [, start, end] = cut("2026-04-23", "2026-04-25", "day", "Africa/Cairo");
    expect([start, end]).toEqual(["2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"]);
  });

  test("a day that a zone left out is none", () => {
    const starts = cut("2011-12-29", "2012-01-01", "day", "Pacific/Apia").map((text) => text.slice(0, 10));
    expect(starts).toEqual(["2011-12-29", "2011-12-31", "2012-01-01"]);
  });

  test("weeks begin on Monday, also where a year does not", () => {
    expect(cut("2020-12-28", "2021-01-11", "week").map((text) => text.slice(0, 10))).toEqual([
      "2020-12-28",
      "2021-01-04",
      "2021-01-11",
    ]);
    expect(cut("2025-12-31", "2026-01-06", "week").map((text) => text.slice(0, 10))).toEqual([
      "2025-12-31",
      "2026-01-05",
      "2026-01-06",
    ]);
    expect(cut("1970-01-01", "1970-01-06", "week").map((text) => text.slice(0, 10))).toEqual([
      "1970-01-01",
      "1970-01-05",
      "1970-01-06",
    ]);
  });

  test("weeks begin on another day by choice", () => {
    const zone = zoneOf("UTC");
    const [from, to] = [Date.UTC(2026, 0, 1), Date.UTC(2026, 0, 14)];
    const startsOf = (weekStart: WeekStart) =>
      new Steps({ from, to, step: "week", zone, weekStart }).starts.map((at) => zone.textOf(at).slice(8, 10));
    expect(startsOf("monday")).toEqual(["01", "05", "12"]);
    expect(startsOf("sunday")).toEqual(["01", "04", "11"]);
    expect(startsOf("saturday")).toEqual(["01", "03", "10"]);
  });

  test("months are those of the zone", () => {
    const starts = cut("2026-01-15", "2026-04-15", "month", "Europe/Berlin");
    expect(starts).toEqual([
      "2026-01-15T00:00:00+01:00",
      "2026-02-01T00:00:00+01:00",
      "2026-03-01T00:00:00+01:00",
      "2026-04-01T00:00:00+02:00",
      "2026-04-15T00:00:00+02:00",
    ]);
  });

  test("where a zone is not whole hours from UTC, days cut an hour, and hours cut all", () => {
    const zone = zoneOf("Asia/Kolkata");
    const [from, to] = [timeOf("2026-01-31", zone)!, timeOf("2026-02-02", zone)!];
    const days = new Steps({ from, to, step: "day", zone });
    expect([...days.starts, days.to].map((at) => zone.textOf(at))).toEqual([
      "2026-01-31T00:00:00+05:30",
      "2026-02-01T00:00:00+05:30",
      "2026-02-02T00:00:00+05:30",
    ]);
    expect(cutHoursOf(days).map((at) => new Date(at).toISOString().slice(0, 16))).toEqual([
      "2026-01-30T18:00",
      "2026-01-31T18:00",
      "2026-02-01T18:00",
    ]);
    const hours = new Steps({ from, to, step: "hour", zone });
    expect([hours.starts.length, cutHoursOf(hours).length]).toEqual([48, 49]);
    expect([hours.isOfParts(0), days.isOfParts(0)]).toEqual([true, false]);
  });

  test("a leap day, and a year without one", () => {
    expect(hoursOf("2024-02-28", "2024-03-02", "day")).toEqual([24, 24, 24]);
    expect(hoursOf("2026-02-28", "2026-03-02", "day")).toEqual([24, 24]);
  });

  test("the first and the last are cut off where the range is", () => {
    expect(hoursOf("2026-01-31T22:00", "2026-02-02T03:00", "day")).toEqual([2, 24, 3]);
    expect(hoursOf("2026-01-31T22:00", "2026-02-02T03:00", "total")).toEqual([29]);
  });

  test("in any zone are those of the model, and every hour is of the one that holds it", () => {
    const someStep = fc.constantFrom<Step>("hour", "day", "week", "month", "total");
    const property = fc.property(
      someZone,
      someHour,
      fc.integer({ min: 1, max: 1_500 }),
      someStep,
      (name, utcHour, hours, step) => {
        const zone = zoneOf(name);
        const [from, to] = [zone.floorHour(utcHour), zone.floorHour(utcHour + hours * HOUR_MS)];
        const steps = new Steps({ from, to, step, zone });
        expect([...steps.starts]).toEqual(modelStarts(from, to, step, name));
        expect(steps.endOf(steps.starts.length - 1)).toBe(to);
        for (let at = from; at < to; at += QUARTER_MS) {
          const index = steps.indexAt(at)!;
          expect(at >= steps.starts[index]! && at < steps.endOf(index)).toBe(true);
        }
        expect([steps.indexAt(from - 1), steps.indexAt(to)]).toEqual([undefined, undefined]);
        for (let hour = hourOf(from); hour < to; hour += HOUR_MS) {
          const isWhole =
            steps.indexAt(hour) !== undefined && steps.indexAt(hour) === steps.indexAt(hour + HOUR_MS - 1);
          expect(steps.indexOfHour(hour)).toBe(isWhole ? steps.indexAt(hour) : undefined);
        }
      },
    );
    fc.assert(property, { numRuns: 150 });
  });
});

describe("time zones", () => {
  test("show at any time what the model shows", () => {
    const property = fc.property(someZone, someLocal, (name, at) => {
      const expected = zonedTime(at, name).toString({ timeZoneName: "never", smallestUnit: "second" });
      expect(zoneOf(name).textOf(at)).toBe(expected.replace("+00:00", "Z"));
    });
    fc.assert(property, { numRuns: 1_000 });
  });

  test("a local time is when the model has it, also where clocks skip it or show it twice", () => {
    const zone = zoneOf("Europe/Berlin");
    const textOf = (text: string) => zone.textOf(timeOf(text, zone)!);
    expect(textOf("2026-03-29T02:30")).toBe("2026-03-29T03:30:00+02:00");
    expect(textOf("2026-10-25T02:30")).toBe("2026-10-25T02:30:00+02:00");
    const property = fc.property(someZone, someLocal, (name, local) => {
      const model = Temporal.PlainDateTime.from(new Date(local).toISOString().slice(0, 19)).toZonedDateTime(name);
      expect(zoneOf(name).instantOf(local)).toBe(model.epochMilliseconds);
    });
    fc.assert(property, { numRuns: 1_000 });
  });

  test("close to a change, too", () => {
    const property = fc.property(someZone, someHour, fc.integer({ min: -180, max: 180 }), (name, at, minutes) => {
      const change = zonedTime(at, name).getTimeZoneTransition("next");
      if (change === null || change.epochMilliseconds > LAST) return;
      const local = Math.floor(change.epochMilliseconds / HOUR_MS) * HOUR_MS + minutes * 60_000;
      const zone = zoneOf(name);
      expect(zone.offsetMsAt(local)).toBe(zonedTime(local, name).offsetNanoseconds / 1e6);
      const shown = local + zone.offsetMsAt(local);
      const model = Temporal.PlainDateTime.from(new Date(shown).toISOString().slice(0, 19)).toZonedDateTime(name);
      expect(zone.instantOf(shown)).toBe(model.epochMilliseconds);
    });
    fc.assert(property, { numRuns: 500 });
  });

  test("have whole hours or not, in the range", () => {
    const whole = (name: string, at = Date.UTC(2026, 0)) => zoneOf(name).hasWholeHours(at, at + 200 * DAY_MS);
    expect(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati"].map((name) => whole(name))).toEqual(
      Array(4).fill(true),
    );
    const others = ["Asia/Kolkata", "Asia/Kathmandu", "Australia/Adelaide", "Australia/Lord_Howe"];
    expect(others.map((name) => whole(name))).toEqual(Array(4).fill(false));
    expect(whole("Africa/Monrovia", 0)).toBe(false);
    expect(whole("Africa/Monrovia")).toBe(true);
  });

  test("that do not exist are none", () => {
    expect(["Europe/Berlim", "", "Mars", "UTC+1"].map((name) => TimeZone.named(name))).toEqual(
      Array(4).fill(undefined),
    );
  });
});

describe("times as parameters give them", () => {
  const zone = zoneOf("America/New_York");
  const taken: Readonly<Record<string, string>> = {
    "2026-01-31": "2026-01-31T05:00:00.000Z",
    "2026-07-31": "2026-07-31T04:00:00.000Z",
    "2026-01-31T12": "2026-01-31T17:00:00.000Z",
    "2026-01-31T12:30": "2026-01-31T17:30:00.000Z",
    "2026-01-31T12:30:15": "2026-01-31T17:30:15.000Z",
    "2026-01-31T12:30:15.7": "2026-01-31T17:30:15.700Z",
    "2026-01-31T12Z": "2026-01-31T12:00:00.000Z",
    "2026-01-31T12:30:15.789Z": "2026-01-31T12:30:15.789Z",
    "2026-01-31T12:30+01:00": "2026-01-31T11:30:00.000Z",
    "2026-01-31T12:30 01:00": "2026-01-31T11:30:00.000Z",
    "2026-01-31T12:30-0530": "2026-01-31T18:00:00.000Z",
    "2024-02-29T00:00Z": "2024-02-29T00:00:00.000Z",
    "1970-01-01T00:00Z": "1970-01-01T00:00:00.000Z",
    "0": "1970-01-01T00:00:00.000Z",
    "1769862600000": "2026-01-31T12:30:00.000Z",
  };
  for (const [text, expected] of Object.entries(taken)) {
    test(`'${text}' is taken`, () => expect(new Date(timeOf(text, zone)!).toISOString()).toBe(expected));
  }

  const refused = [
    ...["2026-02-29", "2026-13-01", "2026-00-10", "2026-01-32", "2026-01-31T24:00Z", "2026-01-31T23:60Z"],
    ...["2026-01-31T12:30:60Z", "2026-01-31T12:30+24:00", "2026-01-31T12:30+01:60", "1969-12-31T23:59Z"],
    ...["0070-01-01", "2026", "20260131", "9999-12-31T12:00Z", "999999999999999", "", "now", "2026-01"],
  ];
  for (const text of refused) {
    test(`'${text}' is refused`, () => expect(timeOf(text, zone)).toBeUndefined());
  }
});

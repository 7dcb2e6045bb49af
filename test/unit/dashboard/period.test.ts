/** The dashboard's periods: what is compared with what, whole days of a zone, and labels that fit their numbers. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";

const client = `${import.meta.dir}/../../../src/http/dashboard/client`;
const { earlierBy, isStepFitting, periodOf, wholeHoursTo, Zone } = await import(`${client}/time.js`);
const { axisTexts, axisValues } = await import(`${client}/chart.js`);
const { changeText, shortCount, spanText } = await import(`${client}/format.js`);

const NOW = Date.UTC(2026, 3, 15, 10, 40);
const UTC = Zone.named("UTC");
const view = (some: object) => ({
  range: "24h",
  step: "hour",
  compare: "day",
  zone: UTC,
  zoom: undefined,
  ...some,
});
const at = (text: string) => Date.parse(`${text}Z`);
const iso = (ms: number) => new Date(ms).toISOString().slice(0, 16);

describe("a period", () => {
  test("has the same start and end for every step, so that totals agree", () => {
    for (const range of ["7d", "30d", "12mo"]) {
      const periods = ["hour", "day", "week", "month"].map((step) => periodOf(view({ range, step }), NOW));
      expect(new Set(periods.map(({ from, to }) => `${from} ${to}`)).size).toBe(1);
    }
  });

  test("of days and months begins at a midnight of the zone", () => {
    const berlin = Zone.named("Europe/Berlin");
    expect(iso(periodOf(view({ range: "7d", zone: berlin }), NOW).from)).toBe("2026-04-08T22:00");
    // Before the clocks changed.
    expect(iso(periodOf(view({ range: "30d", zone: berlin }), NOW).from)).toBe("2026-03-16T23:00");
    expect(iso(periodOf(view({ range: "12mo", zone: berlin }), NOW).from)).toBe("2025-04-30T22:00");
    const kolkata = Zone.named("Asia/Kolkata");
    expect(iso(periodOf(view({ range: "7d", zone: kolkata }), NOW).from)).toBe("2026-04-08T18:30");
  });

  test("ends with the current hour, which is not compared", () => {
    const period = periodOf(view({}), NOW);
    const wholeTo = (state: object, to = period.to) => iso(wholeHoursTo(view(state), { to }, NOW));
    expect([iso(period.to), wholeTo({})]).toEqual(["2026-04-15T11:00", "2026-04-15T10:00"]);
    expect(wholeTo({}, at("2026-04-01T00:00"))).toBe("2026-04-01T00:00");
    const zone = Zone.named("Asia/Kolkata");
    expect([wholeTo({ zone }), wholeTo({ zone, step: "day" })]).toEqual(["2026-04-15T10:00", "2026-04-15T09:30"]);
  });

  test("has no day that has not begun in the zone", () => {
    const days = { range: "7d", step: "day", zone: Zone.named("Asia/Kolkata") };
    expect(iso(periodOf(view(days), at("2026-04-15T18:10")).to)).toBe("2026-04-15T18:30");
    expect(iso(periodOf(view(days), at("2026-04-15T18:40")).to)).toBe("2026-04-15T19:30");
  });

  test("takes the steps that it has at least two of, and hours that can be told apart", () => {
    const fitting = (range: string) =>
      ["hour", "day", "week", "month"].filter((step) => isStepFitting(step, view({ range }), NOW));
    expect(fitting("24h")).toEqual(["hour"]);
    expect(fitting("7d")).toEqual(["hour", "day"]);
    expect(fitting("30d")).toEqual(["hour", "day", "week", "month"]);
    expect(fitting("12mo")).toEqual(["day", "week", "month"]);
  });
});

describe("the earlier period", () => {
  const earlier = (state: object, from: string, to: string) => {
    const by = earlierBy(view({ zoom: {}, ...state }), { from: at(from), to: at(to) });
    return [iso(by(at(from))), iso(by(at(to)))];
  };

  test("has the same hours of an earlier day, or week by choice", () => {
    const hours = ["2026-04-15T08:00", "2026-04-15T14:00"] as const;
    expect(earlier({}, ...hours)).toEqual(["2026-04-14T08:00", "2026-04-14T14:00"]);
    expect(earlier({ compare: "week" }, ...hours)).toEqual(["2026-04-08T08:00", "2026-04-08T14:00"]);
    const days = ["2026-04-12T08:00", "2026-04-15T14:00"] as const;
    expect(earlier({}, ...days)).toEqual(["2026-04-08T08:00", "2026-04-11T14:00"]);
    expect(earlier({ step: "week" }, ...days)).toEqual(["2026-04-05T08:00", "2026-04-08T14:00"]);
  });

  test("of months is as many months before, and of 12 months the year before", () => {
    expect(earlier({ step: "month" }, "2026-03-01T00:00", "2026-05-01T00:00")).toEqual([
      "2026-01-01T00:00",
      "2026-03-01T00:00",
    ]);
    const by = earlierBy(view({ range: "12mo" }), periodOf(view({ range: "12mo" }), NOW));
    expect(iso(by(at("2026-03-31T05:00")))).toBe("2025-03-31T05:00");
    expect(iso(by(at("2024-02-29T05:00")))).toBe("2023-02-28T05:00");
  });

  test("has the same hours of the zone, also where its clocks changed in between", () => {
    const zone = Zone.named("Europe/Berlin");
    const [from, to] = [zone.instantOf(at("2026-03-29T08:00")), zone.instantOf(at("2026-03-29T12:00"))];
    const by = earlierBy(view({ zone, zoom: {} }), { from, to });
    expect([by(from), by(to)].map((ms) => iso(zone.localOf(ms)))).toEqual(["2026-03-28T08:00", "2026-03-28T12:00"]);
  });
});

test("a zone has the clocks of Temporal", () => {
  const zones = Intl.supportedValuesOf("timeZone");
  const minutes = fc.integer({ min: Date.UTC(2000, 0) / 60_000, max: Date.UTC(2036, 0) / 60_000 });
  const property = fc.property(fc.constantFrom(...zones), minutes, (name, minute) => {
    const ms = minute * 60_000;
    const model = Temporal.Instant.fromEpochMilliseconds(ms).toZonedDateTimeISO(name);
    const zone = Zone.named(name);
    expect(zone.offsetAt(ms)).toBe(model.offsetNanoseconds / 1e6);
    const again = model.toPlainDateTime().toZonedDateTime(name);
    expect(zone.instantOf(zone.localOf(ms))).toBe(again.epochMilliseconds);
  });
  fc.assert(property, { numRuns: 300 });
  expect(Zone.named("Mars")).toBeUndefined();
});

test("a change is in percent, of a rate in points, and a large one is a factor", () => {
  expect(changeText(104, 100, false)).toBe("+4%");
  expect(changeText(125_090, 1_000, false)).toBe("125 times as many");
  expect(changeText(5, 0, false)).toBe("none before");
  expect(changeText(0, 0, false)).toBe("");
  expect(changeText(0.0512, 0.05, true)).toBe("+0.12 points");
  expect(changeText(null, 0.05, true)).toBe("");
});

test("short numbers have one decimal, and spans name their years where it matters", () => {
  expect([999, 4_000, 4_100, 12_345_678].map(shortCount)).toEqual(["999", "4.0K", "4.1K", "12.3M"]);
  expect(spanText(at("2026-04-15T08:00"), at("2026-04-15T14:00"))).toBe("Wed 15 Apr, 08:00–14:00");
  expect(spanText(at("2026-04-15T00:00"), at("2026-04-16T00:00"))).toBe("Wed 15 Apr");
  expect(spanText(at("2025-04-15T00:00"), at("2026-04-15T00:00"))).toBe("15 Apr 2025 – 14 Apr 2026");
});

test("an axis reaches its highest value, and its labels have as many decimals", () => {
  const metrics = fc.constantFrom({ isRate: false }, { isRate: true });
  const someMax = fc.oneof(fc.integer({ min: 0, max: 10_000_000 }), fc.double({ min: 0, max: 1, noNaN: true }));
  const property = fc.property(metrics, someMax, fc.integer({ min: 2, max: 8 }), (metric, max, lines) => {
    const values: number[] = axisValues(max, metric, lines);
    expect(values.at(-1)!).toBeGreaterThanOrEqual(max * (1 - 1e-9));
    expect(values.length).toBeLessThanOrEqual(lines + 1);
    // The range of the chart ends there: asked about that, the values are the same.
    expect(axisValues(values.at(-1)!, metric, lines)).toEqual(values);
    const texts: string[] = axisTexts(values, metric);
    expect(new Set(texts).size).toBe(texts.length);
  });
  fc.assert(property, { numRuns: 500 });
  expect(axisTexts(axisValues(4_100, { isRate: false }, 6), { isRate: false })).toEqual([
    ...["0", "1K", "2K", "3K", "4K", "5K"],
  ]);
  expect(axisTexts([0, 500, 1_000, 1_500], { isRate: false })).toEqual(["0", "500", "1.0K", "1.5K"]);
  expect(axisTexts([0, 0.05, 0.1], { isRate: true })).toEqual(["0%", "5%", "10%"]);
});

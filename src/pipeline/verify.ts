/**
 * Holds an hour in the hot store, its aggregate and its rows against each other, each shard's part for itself. The rows
 * are right, as long as they are kept: with them the numbers of those that were erased. Of an hour whose rows are not,
 * the aggregate is.
 *
 * Invariant: what is only on its way is no difference. The cold store is looked at first, in one picture; then
 * the hot store, which may be ahead of it by at most the events that are not flushed yet.
 */
import type { HourCounts, HourKey } from "../count/event.ts";
import type { ErasedCounts } from "../count/kept.ts";
import { Sketch } from "../count/sketch.ts";
import type { ColdHour, ColdStore, HourAudit } from "../store/cold.ts";
import type { HotStore, HourRead } from "../store/hot.ts";

export interface VerifyOptions {
  readonly cold: ColdStore;
  /** The shard's; undefined if it is in the memory of another process. */
  readonly hot: HotStore | undefined;
  readonly shard: number;
  readonly isRepairing: boolean;
}

export interface HourVerdict extends HourKey {
  readonly shard: number;
  /** "not kept": they are dropped, and the aggregate is all there is. */
  readonly rows: HourCounts | "not kept";
  /** Rows and dead letters that were erased, as their user was forgotten: the aggregate counts those rows. */
  readonly erased: ErasedCounts;
  readonly aggregate: HourCounts | undefined;
  readonly hot: HourCounts | HourRead["status"] | "unborn" | "not looked at";
  readonly deadLetters: number;
  /** In the hot store, and not a row yet. */
  readonly unflushed: number;
  /** Each says what differs. Empty if all is well. */
  readonly differences: readonly string[];
  /** What was done about them: less, if the hot store holds events of the hour that are not flushed yet. */
  readonly repairs: readonly string[];
}

interface HotSide {
  readonly read: HourRead | "unborn";
  readonly pendingMax: number;
}

const REBUILT_WITH_ERASED =
  "the aggregate was made anew from the rows and the numbers of those that were erased; its sketch was kept";

const NO_COUNTS: HourCounts = { clicks: 0, impressions: 0, uniqueUsers: 0 };

/** Throws HotUnavailableError or ColdUnavailableError. */
export async function verifyHour(options: VerifyOptions, key: HourKey): Promise<HourVerdict> {
  const { cold, hot, shard } = options;
  const names = hot === undefined ? [] : (await hot.journalOwners()).map(({ writer }) => writer);
  const before = (await cold.storedEvents(names)).byWriter;
  const audit = await cold.audit(key, shard);
  const hotSide = hot && (await lookAtHot(hot, key, before));
  const expected = expectedOf(audit, key);
  const coldDifference = areRowsKept(audit, key) ? aggregateDifference(audit) : undefined;
  const hotDifference = expected && hotSide && hotStoreDifference(expected, audit, hotSide, key);
  const repairs: string[] = [];
  if (options.isRepairing && coldDifference !== undefined && (await cold.rebuild(key, shard))) {
    repairs.push(isAnyErased(audit) ? REBUILT_WITH_ERASED : "the aggregate was made anew from the rows");
  }
  if (options.isRepairing && hotDifference !== undefined && (await hot!.retireHour(key))) {
    repairs.push("the hot store forgot the hour, and will fetch it anew");
  }
  return {
    ...key,
    shard,
    rows: areRowsKept(audit, key) ? (countsOf(audit.rows) ?? NO_COUNTS) : "not kept",
    erased: audit.erased,
    aggregate: countsOf(audit.aggregate),
    hot: hotSide === undefined ? "not looked at" : shownRead(hotSide.read),
    deadLetters: audit.deadLetters,
    unflushed: hotSide === undefined ? 0 : Math.max(0, surplus(expected, audit, hotSide.read)),
    differences: [coldDifference, hotDifference].filter((difference) => difference !== undefined),
    repairs,
  };
}

async function lookAtHot(hot: HotStore, key: HourKey, stored: ReadonlyMap<string, number>): Promise<HotSide> {
  const reads = await hot.read([key]);
  // After the read: what was accepted by then is counted here.
  const owners = await hot.journalOwners();
  const pendingMax = owners.reduce((sum, { writer, acceptedEvents }) => {
    return sum + Math.max(0, acceptedEvents - (stored.get(writer) ?? 0));
  }, 0);
  return { read: reads === "unborn" ? reads : reads[0]!, pendingMax };
}

function areRowsKept({ kept }: HourAudit, { hour }: HourKey): boolean {
  return hour >= kept.rowsFrom;
}

/** Of rows: dead letters are in no aggregate. */
function isAnyErased({ erased }: HourAudit): boolean {
  return erased.clicks + erased.impressions > 0;
}

/** What the hour is by the cold store; undefined if even its aggregate is not kept. */
function expectedOf(audit: HourAudit, key: HourKey): HourCounts | undefined {
  const { aggregate, rows, erased, kept } = audit;
  if (key.hour < kept.aggregatesFrom) return undefined;
  if (!areRowsKept(audit, key)) return countsOf(aggregate) ?? NO_COUNTS;
  const { clicks, impressions, uniqueUsers } = countsOf(rows) ?? NO_COUNTS;
  return {
    clicks: clicks + erased.clicks,
    impressions: impressions + erased.impressions,
    // The users that were erased are in no row.
    uniqueUsers: isAnyErased(audit) ? (aggregate?.sketch.count() ?? uniqueUsers) : uniqueUsers,
  };
}

function aggregateDifference(audit: HourAudit): string | undefined {
  const { aggregate, rows, erased } = audit;
  const isAny = isAnyErased(audit);
  if (aggregate === undefined && rows === undefined && !isAny) return undefined;
  if (aggregate === undefined) return "the hour has rows, but no aggregate";
  if (rows === undefined && !isAny) return "the hour has an aggregate, but no rows";
  const { clicks, impressions } = rows ?? NO_COUNTS;
  const found = { clicks: clicks + erased.clicks, impressions: impressions + erased.impressions };
  if (aggregate.clicks !== found.clicks || aggregate.impressions !== found.impressions) {
    const those = isAny ? "its rows and those that were erased are" : "its rows are";
    return `the aggregate counts ${text(aggregate)}, ${those} ${text(found)}`;
  }
  return rows === undefined ? undefined : sketchDifference(aggregate.sketch, rows.sketch, isAny);
}

/** `knowsMore`: it may have users of whom no row is left. */
function sketchDifference(sketch: Sketch, ofRows: Sketch, knowsMore: boolean): string | undefined {
  const expected = new Sketch();
  if (knowsMore) expected.merge(sketch);
  expected.merge(ofRows);
  if (Buffer.compare(sketch.encode(), expected.encode()) === 0) return undefined;
  if (knowsMore) return "the aggregate's sketch lacks users of its rows";
  return `the aggregate's sketch counts ${sketch.count()} users, its rows give ${ofRows.count()}`;
}

/** Hours that the hot store does not hold are read from the cold store: they can't differ. */
function hotStoreDifference(
  expected: HourCounts,
  audit: HourAudit,
  { read, pendingMax }: HotSide,
  key: HourKey,
): string | undefined {
  if (read === "unborn" || read.status === "absent") return undefined;
  const counts = read.status === "empty" ? NO_COUNTS : read.counts;
  const { deadLetters, erased } = audit;
  const shown = `the hot store counts ${text(counts)}, the rows are ${text(expected)}`;
  const ahead = surplus(expected, audit, read);
  const isBehind = counts.clicks < expected.clicks || counts.impressions < expected.impressions;
  // Dead letters that are gone are in the hot store until that forgets the hour: erased ones, and those of days that
  // are not kept, whose number nobody knows.
  const aheadMax = areRowsKept(audit, key) ? pendingMax + erased.deadLetters : Number.POSITIVE_INFINITY;
  if (isBehind || ahead < 0 || ahead > aheadMax) {
    return `${shown}, and ${deadLetters} are dead letters; at most ${pendingMax} are on their way`;
  }
  const isSettled = ahead === 0 && deadLetters === 0;
  if (!isSettled || counts.uniqueUsers === expected.uniqueUsers) return undefined;
  return `the hot store counts ${counts.uniqueUsers} users, the rows give ${expected.uniqueUsers}`;
}

/** How many events the hot store is ahead of the cold one. */
function surplus(
  expected: HourCounts | undefined,
  { deadLetters }: HourAudit,
  read: HourRead | "unborn",
): number {
  if (expected === undefined || read === "unborn" || read.status === "absent") return 0;
  const { clicks, impressions } = read.status === "empty" ? NO_COUNTS : read.counts;
  return clicks + impressions - expected.clicks - expected.impressions - deadLetters;
}

function countsOf(hour: ColdHour | undefined): HourCounts | undefined {
  if (hour === undefined) return undefined;
  const { clicks, impressions, sketch } = hour;
  return { clicks, impressions, uniqueUsers: sketch.count() };
}

function text({ clicks, impressions }: Pick<HourCounts, "clicks" | "impressions">): string {
  return `${clicks} clicks and ${impressions} impressions`;
}

function shownRead(read: HourRead | "unborn"): HourVerdict["hot"] {
  if (read === "unborn") return read;
  return read.status === "present" ? read.counts : read.status;
}

/** Whether the shard knows anything of the hour. */
export function knowsHour({ rows, aggregate, erased, hot, deadLetters, differences }: HourVerdict): boolean {
  const isHeld = typeof hot === "object" && hot.clicks + hot.impressions > 0;
  const hasRows = rows !== "not kept" && rows.clicks + rows.impressions > 0;
  const { clicks, impressions } = erased;
  return (
    isHeld ||
    hasRows ||
    aggregate !== undefined ||
    clicks + impressions + deadLetters + differences.length > 0
  );
}

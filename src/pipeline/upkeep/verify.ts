/**
 * Compares an hour's rows, its aggregate and the hot store, separately for each shard's part. While the rows are
 * retained, they and the counts of erased rows are the truth; after that the aggregate is.
 * Invariant: unflushed events are not a difference. The cold store is read first, in one snapshot, and the hot store
 * second; so the hot store may be ahead by at most those events.
 */
import type { HourCounts, HourKey } from "../../domain/event.ts";
import type { HourTotals } from "../../domain/hour-range.ts";
import type { ErasedCounts } from "../../domain/retention-bounds.ts";
import { Sketch, type UserCounts, type UserSketches } from "../../domain/unique-users/sketch.ts";
import type { AuditStore, HourAudit, ReadStore } from "../../store/cold.ts";
import type { HotStore } from "../../store/hot.ts";
import { readHeldHour } from "../read/hour-reader.ts";
import { noSums } from "../read/series-tally.ts";

interface VerifyOptions {
  readonly cold: AuditStore & Pick<ReadStore, "storedEvents">;
  /** The shard's store; undefined if it is in the memory of another process. */
  readonly hot: HotStore | undefined;
  readonly shard: number;
  readonly isRepairing: boolean;
}

type CountsByKind = HourCounts & UserCounts;

export interface HourVerdict extends HourKey {
  readonly shard: number;
  /** "not kept": they were deleted, and only the aggregate is left. */
  readonly rows: CountsByKind | "not kept";
  /** Rows and dead letters of forgotten users. The aggregate still counts those rows. */
  readonly erased: ErasedCounts;
  readonly aggregate: CountsByKind | undefined;
  readonly hot: CountsByKind | "empty" | "absent" | "uninitialized" | "not looked at";
  readonly deadLetters: number;
  /** Events in the hot store that are not rows yet. */
  readonly unflushed: number;
  readonly differences: readonly string[];
  /** The repairs that were made. An hour with unflushed events in the hot store is repaired only in part. */
  readonly repairs: readonly string[];
}

interface HotSide {
  readonly read: CountsByKind | "empty" | "absent" | "uninitialized";
  readonly pendingMax: number;
}

const REBUILT_WITH_ERASED =
  "the aggregate was rebuilt from the rows and the counts of erased ones; its sketches did not change";

/** Throws HotUnavailableError or ColdUnavailableError. */
export async function verifyHour(options: VerifyOptions, key: HourKey): Promise<HourVerdict> {
  const { cold, hot, shard } = options;
  const names = hot === undefined ? [] : (await hot.journalOwners()).map(({ writer }) => writer);
  const before = (await cold.storedEvents(names)).byWriter;
  const audit = await cold.audit(key, shard);
  const hotSide = hot && (await readHotSide(hot, key, before));
  const expected = expectedOf(audit, key);
  const coldDifference = areRowsRetained(audit, key) ? aggregateDifference(audit) : undefined;
  const hotDifference = expected && hotSide && hotStoreDifference(expected, audit, hotSide, key);
  const repairs: string[] = [];
  if (options.isRepairing && coldDifference !== undefined && (await cold.rebuild(key, shard))) {
    repairs.push(isAnyErased(audit) ? REBUILT_WITH_ERASED : "the aggregate was rebuilt from the rows");
  }
  if (options.isRepairing && hotDifference !== undefined && (await hot!.retireHour(key))) {
    repairs.push("the hot store dropped the hour and will load it again");
  }
  return {
    ...key,
    shard,
    rows: areRowsRetained(audit, key) ? (countsOf(audit.rows) ?? noSums()) : "not kept",
    erased: audit.erased,
    aggregate: countsOf(audit.aggregate),
    hot: hotSide === undefined ? "not looked at" : hotSide.read,
    deadLetters: audit.deadLetters,
    unflushed: hotSide === undefined ? 0 : unflushedOf(expected, audit, hotSide),
    differences: [coldDifference, hotDifference].filter((difference) => difference !== undefined),
    repairs,
  };
}

async function readHotSide(hot: HotStore, key: HourKey, stored: ReadonlyMap<string, number>): Promise<HotSide> {
  const held = await readHeldHour(hot, key);
  const read = typeof held === "object" ? countsOf(held) : held;
  // Read after the hour, so that it covers all events that the hour counts.
  const owners = await hot.journalOwners();
  const pendingMax = owners.reduce((sum, { writer, acceptedEvents }) => {
    return sum + Math.max(0, acceptedEvents - (stored.get(writer) ?? 0));
  }, 0);
  return { read, pendingMax };
}

function areRowsRetained({ retained }: HourAudit, { hour }: HourKey): boolean {
  return hour >= retained.rowsFrom;
}

function isAnyErased({ erased }: HourAudit): boolean {
  return erased.clicks + erased.impressions > 0;
}

/** What the hour should be according to the cold store; undefined if even its aggregate is not retained. */
function expectedOf(audit: HourAudit, key: HourKey): CountsByKind | undefined {
  const { aggregate, rows, erased, retained } = audit;
  if (key.hour < retained.aggregatesFrom) return undefined;
  if (!areRowsRetained(audit, key)) return countsOf(aggregate) ?? noSums();
  const { clicks, impressions, ...users } = countsOf(rows) ?? noSums();
  return {
    clicks: clicks + erased.clicks,
    impressions: impressions + erased.impressions,
    // The rows no longer have the erased users.
    ...(isAnyErased(audit) ? (aggregate?.users.counts() ?? users) : users),
  };
}

function aggregateDifference(audit: HourAudit): string | undefined {
  const { aggregate, rows, erased } = audit;
  const isAny = isAnyErased(audit);
  if (aggregate === undefined && rows === undefined && !isAny) return undefined;
  if (aggregate === undefined) return "the hour has rows, but no aggregate";
  if (rows === undefined && !isAny) return "the hour has an aggregate, but no rows";
  const { clicks, impressions } = rows ?? noSums();
  const found = { clicks: clicks + erased.clicks, impressions: impressions + erased.impressions };
  if (aggregate.clicks !== found.clicks || aggregate.impressions !== found.impressions) {
    const those = isAny ? "its rows and the erased ones are" : "its rows are";
    return `the aggregate counts ${text(aggregate)}, ${those} ${text(found)}`;
  }
  return rows === undefined ? undefined : usersDifference(aggregate.users, rows.users, isAny);
}

/** `knowsMore`: the aggregate may include users who have no row left. */
function usersDifference(users: UserSketches, ofRows: UserSketches, knowsMore: boolean): string | undefined {
  return (
    sketchDifference("clickers", users.clickers, ofRows.clickers, knowsMore) ??
    sketchDifference("viewers", users.viewers, ofRows.viewers, knowsMore)
  );
}

function sketchDifference(whose: string, sketch: Sketch, ofRows: Sketch, knowsMore: boolean): string | undefined {
  const expected = new Sketch();
  if (knowsMore) expected.merge(sketch);
  expected.merge(ofRows);
  if (Buffer.compare(sketch.encode(), expected.encode()) === 0) return undefined;
  if (knowsMore) return `the aggregate's sketch of ${whose} lacks some of its rows`;
  return `the aggregate's sketch counts ${sketch.count()} ${whose}, its rows give ${ofRows.count()}`;
}

/** An hour that the hot store does not hold is read from the cold store, so it cannot differ. */
function hotStoreDifference(
  expected: CountsByKind,
  audit: HourAudit,
  { read, pendingMax }: HotSide,
  key: HourKey,
): string | undefined {
  if (read === "uninitialized" || read === "absent") return undefined;
  const counts = read === "empty" ? noSums() : read;
  const { deadLetters, erased } = audit;
  const shown = `the hot store counts ${text(counts)}, the rows are ${text(expected)}`;
  const ahead = surplus(expected, audit, read);
  const isBehind = counts.clicks < expected.clicks || counts.impressions < expected.impressions;
  // Deleted dead letters stay in the hot store until it drops the hour: erased ones, and an unknown number of those
  // from days that are not retained.
  const aheadMax = areRowsRetained(audit, key) ? pendingMax + erased.deadLetters : Number.POSITIVE_INFINITY;
  if (isBehind || ahead < 0 || ahead > aheadMax) {
    return `${shown}, and ${deadLetters} are dead letters; at most ${pendingMax} are not flushed yet`;
  }
  const isSettled = ahead === 0 && deadLetters === 0;
  return isSettled ? hotUsersDifference(counts, expected) : undefined;
}

const USERS = { uniqueUsers: "users", uniqueClickers: "clickers", uniqueViewers: "viewers" } as const;

function hotUsersDifference(counts: CountsByKind, expected: CountsByKind): string | undefined {
  for (const field of ["uniqueUsers", "uniqueClickers", "uniqueViewers"] as const) {
    const [found, right] = [counts[field], expected[field]];
    if (found !== right) return `the hot store counts ${found} ${USERS[field]}, the rows give ${right}`;
  }
  return undefined;
}

/** What is beyond the events that wait for a flush is a difference. */
function unflushedOf(expected: HourCounts | undefined, audit: HourAudit, { read, pendingMax }: HotSide): number {
  return Math.max(0, Math.min(surplus(expected, audit, read), pendingMax));
}

/** How many events the hot store is ahead of the cold store. */
function surplus(expected: HourCounts | undefined, { deadLetters }: HourAudit, read: HotSide["read"]): number {
  if (expected === undefined || read === "uninitialized" || read === "absent") return 0;
  const { clicks, impressions } = read === "empty" ? noSums() : read;
  return clicks + impressions - expected.clicks - expected.impressions - deadLetters;
}

function countsOf(hour: HourTotals): CountsByKind;
function countsOf(hour: HourTotals | undefined): CountsByKind | undefined;
function countsOf(hour: HourTotals | undefined): CountsByKind | undefined {
  if (hour === undefined) return undefined;
  const { clicks, impressions, users } = hour;
  return { clicks, impressions, ...users.counts() };
}

function text({ clicks, impressions }: Pick<HourCounts, "clicks" | "impressions">): string {
  return `${clicks} clicks and ${impressions} impressions`;
}

/** True if the shard has any data of the hour. */
export function knowsHour({ rows, aggregate, erased, hot, deadLetters, differences }: HourVerdict): boolean {
  const isHeld = typeof hot === "object" && hot.clicks + hot.impressions > 0;
  const hasRows = rows !== "not kept" && rows.clicks + rows.impressions > 0;
  const { clicks, impressions } = erased;
  return isHeld || hasRows || aggregate !== undefined || clicks + impressions + deadLetters + differences.length > 0;
}

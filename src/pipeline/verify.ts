/**
 * Holds an hour in the hot store, its aggregate and its rows against each other. The rows are right.
 *
 * Invariant: what is only on its way is no difference. The cold store is looked at first, in one picture; then
 * the hot store, which may be ahead of it by at most the events that are not flushed yet.
 */
import type { HourCounts, HourKey } from "../count/event.ts";
import type { ColdHour, ColdStore, HourAudit } from "../store/cold.ts";
import type { HotStore, HourRead } from "../store/hot.ts";

export interface VerifyOptions {
  readonly cold: ColdStore;
  /** Undefined if it is in the memory of another process. */
  readonly hot: HotStore | undefined;
  readonly isRepairing: boolean;
}

export interface HourVerdict extends HourKey {
  readonly rows: HourCounts;
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

const NO_COUNTS: HourCounts = { clicks: 0, impressions: 0, uniqueUsers: 0 };

/** Throws HotUnavailableError or ColdUnavailableError. */
export async function verifyHour(options: VerifyOptions, key: HourKey): Promise<HourVerdict> {
  const { cold, hot } = options;
  const names = hot === undefined ? [] : (await hot.journalOwners()).map(({ writer }) => writer);
  const before = (await cold.storedEvents(names)).byWriter;
  const audit = await cold.audit(key);
  const hotSide = hot && (await lookAtHot(hot, key, before));
  const coldDifference = aggregateDifference(audit);
  const hotDifference = hotSide && hotStoreDifference(audit, hotSide);
  const repairs: string[] = [];
  if (options.isRepairing && coldDifference !== undefined) {
    await cold.rebuild(key);
    repairs.push("the aggregate was made anew from the rows");
  }
  if (options.isRepairing && hotDifference !== undefined && (await hot!.retireHour(key))) {
    repairs.push("the hot store forgot the hour, and will fetch it anew");
  }
  return {
    ...key,
    rows: countsOf(audit.rows) ?? NO_COUNTS,
    aggregate: countsOf(audit.aggregate),
    hot: hotSide === undefined ? "not looked at" : shownRead(hotSide.read),
    deadLetters: audit.deadLetters,
    unflushed: hotSide === undefined ? 0 : Math.max(0, surplus(audit, hotSide.read)),
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

function aggregateDifference({ aggregate, rows }: HourAudit): string | undefined {
  if (aggregate === undefined && rows === undefined) return undefined;
  if (aggregate === undefined) return "the hour has rows, but no aggregate";
  if (rows === undefined) return "the hour has an aggregate, but no rows";
  if (aggregate.clicks !== rows.clicks || aggregate.impressions !== rows.impressions) {
    return `the aggregate counts ${text(aggregate)}, its rows are ${text(rows)}`;
  }
  if (Buffer.compare(aggregate.sketch.encode(), rows.sketch.encode()) === 0) return undefined;
  return `the aggregate's sketch counts ${aggregate.sketch.count()} users, its rows give ${rows.sketch.count()}`;
}

/** Hours that the hot store does not hold are read from the cold store: they can't differ. */
function hotStoreDifference(audit: HourAudit, { read, pendingMax }: HotSide): string | undefined {
  if (read === "unborn" || read.status === "absent") return undefined;
  const counts = read.status === "empty" ? NO_COUNTS : read.counts;
  const rows = countsOf(audit.rows) ?? NO_COUNTS;
  const shown = `the hot store counts ${text(counts)}, the rows are ${text(rows)}`;
  const ahead = surplus(audit, read);
  const isBehind = counts.clicks < rows.clicks || counts.impressions < rows.impressions;
  if (isBehind || ahead < 0 || ahead > pendingMax) {
    return `${shown}, and ${audit.deadLetters} are dead letters; at most ${pendingMax} are on their way`;
  }
  if (ahead > 0 || audit.deadLetters > 0 || counts.uniqueUsers === rows.uniqueUsers) return undefined;
  return `the hot store counts ${counts.uniqueUsers} users, the rows give ${rows.uniqueUsers}`;
}

/** How many events the hot store is ahead of the cold one. */
function surplus({ rows, deadLetters }: HourAudit, read: HourRead | "unborn"): number {
  if (read === "unborn" || read.status === "absent") return 0;
  const { clicks, impressions } = read.status === "empty" ? NO_COUNTS : read.counts;
  return clicks + impressions - total(rows) - deadLetters;
}

function total(hour: ColdHour | undefined): number {
  return hour === undefined ? 0 : hour.clicks + hour.impressions;
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

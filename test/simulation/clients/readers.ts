/**
 * Reads, compared with the events acknowledged before them and those sent before their answer.
 *
 * Checked invariant: a read that does not say that events may be missing has every event acknowledged before its
 * request, and none that was not sent, or was refused. While a hot store lacks writes, and not everybody knows, this
 * holds for what the process itself acknowledged: it compares what it knows with a server before it reads there.
 */
import { HOUR_MS, type HourCounts, type HourKey, hourOf } from "../../../src/domain/event.ts";
import type { HourRecord } from "../../../src/domain/hour-range.ts";
import { UserSketches } from "../../../src/domain/unique-users/sketch.ts";
import { isRefused, type Report, rowsMax, type SentEvent } from "../check/events.ts";
import type { ColdServer } from "../stores/cold/server.ts";
import type { Read } from "../world/plan.ts";
import type { Process } from "../world/process.ts";
import type { Site } from "./site.ts";

interface Found extends HourCounts {
  readonly isDegraded: boolean;
}

export interface ReadingSite extends Site {
  readonly report: Report;
  readonly cold: ColdServer;
  /** A hot store has lost writes, and not everybody knows: reads may lack them. */
  readonly hasLosses: boolean;
}

export function read(site: ReadingSite, { process: slot, stream, hoursAgo, isRange }: Read): void {
  const process = site.processAt(slot);
  if (process === undefined) return;
  const key = { stream, hour: hourOf(Math.floor(site.wallMs)) - hoursAgo * HOUR_MS };
  site.scheduler.after(1, process, () => readAt(site, process, key, isRange));
}

export function readAt(site: ReadingSite, process: Process, key: HourKey, isRange: boolean): void {
  const askedMs = site.scheduler.nowMs;
  const hadLosses = site.hasLosses;
  const reading = isRange ? readRange(process, key) : process.pipeline.read(key);
  reading.then(
    (found) => check(site, process, key, found, askedMs, hadLosses || site.hasLosses),
    () => {},
  );
}

async function readRange({ pipeline }: Process, key: HourKey): Promise<Found> {
  const range = { from: key.hour, to: key.hour + HOUR_MS, streams: { text: key.stream, isPrefix: false } };
  const newTally = () => {
    const tally = { clicks: 0, impressions: 0, users: new UserSketches() };
    const add = ({ clicks, impressions, users }: HourRecord) => {
      tally.clicks += clicks;
      tally.impressions += impressions;
      tally.users.merge(users);
    };
    return { sum: () => tally, add, settleBefore: () => {} };
  };
  const { tally, isDegraded } = await pipeline.ranges.read(range, newTally);
  const { clicks, impressions, users } = tally.sum();
  return { clicks, impressions, uniqueUsers: users.count(), isDegraded };
}

function check(
  site: ReadingSite,
  process: Process,
  key: HourKey,
  found: Found,
  askedMs: number,
  mayLack: boolean,
): void {
  if (key.hour < site.cold.data.retained().aggregatesFrom) return;
  const sent = site.events.ofHour(key);
  // What has an id may have been acknowledged as a duplicate, of another process's batch.
  const isCertain = ({ event, acknowledgedBy }: SentEvent) =>
    !mayLack || (event.id === undefined && acknowledgedBy === process);
  const certain = found.isDegraded ? [] : sent.filter(isCertain);
  const least = countOf(certain.filter(({ storedMs, isExcused }) => storedMs < askedMs && !isExcused));
  const mayCount = sent.filter((event) => !isRefused(event));
  const most = countOf(mayCount.flatMap((event) => Array<SentEvent>(rowsMax(event)).fill(event)));
  for (const field of ["clicks", "impressions", "uniqueUsers"] as const) {
    const shown = `${key.stream} ${new Date(key.hour).toISOString()}: read ${found[field]} ${field}`;
    if (found[field] < least[field])
      site.report("stale-read", `${shown}, ${least[field]} had been acknowledged before`);
    if (found[field] > most[field]) site.report("read-ahead", `${shown}, only ${most[field]} had been sent`);
  }
}

function countOf(events: readonly SentEvent[]): HourCounts {
  const users = new UserSketches();
  let [clicks, impressions] = [0, 0];
  for (const { event, register } of events) {
    const isClick = event.kind === "click";
    users.add(register, isClick);
    if (isClick) clicks += 1;
    else impressions += 1;
  }
  return { clicks, impressions, uniqueUsers: users.count() };
}

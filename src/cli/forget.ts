/**
 * `hourglass forget`: deletes a user's data.
 *
 * Invariants: every event acknowledged before it began is erased, flushed or not. If killed, it continues when run
 * again. The counts of rows do not change, and the numbers of erased events are recorded. Dead letters are in no
 * aggregate, so erased ones are counted nowhere once the hot store has let go of their hours.
 */
import { type Command, InvalidArgumentError } from "commander";
import { ID_TTL_TEXT } from "../domain/event-ids.ts";
import { Ledger } from "../domain/ledger.ts";
import { addErased, type ErasedCounts, NOTHING_ERASED } from "../domain/retention-bounds.ts";
import { EXPECTS_USER, isUserText } from "../domain/user-text.ts";
import { type Accepted, drain } from "../pipeline/flush/drain.ts";
import { allOwners } from "../pipeline/stores-ledger.ts";
import { adoptJournals } from "../pipeline/upkeep/journal-adoption.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { Config } from "../settings/settings.ts";
import type { UserSelection } from "../store/cold.ts";
import { checkShards, coldShard, refuseOtherDatabase } from "../store/cold-shard.ts";
import { HotUnavailableError } from "../store/hot.ts";
import { closeStores, createStores, type Stores } from "../store/open.ts";
import { exitWith, secondsArgument, streamArgument, URL_HELP, urlArgument } from "./arguments.ts";
import { reportTo } from "./import/report.ts";
import { amount } from "./shared/amounts.ts";
import { print } from "./shared/output.ts";
import { ServiceClient } from "./shared/service-client.ts";
import { ownersByService } from "./shared/service-ledger.ts";
import { openOwn, requireData } from "./shared/with-stores.ts";

interface ForgetOptions {
  readonly user: string;
  readonly stream: string | undefined;
  readonly dryRun: boolean;
  /** The URL of an embedded service; undefined: from the settings. */
  readonly url: string | undefined;
  readonly waitFor: number;
  readonly json: boolean;
}

interface Forgotten extends ErasedCounts {
  hours: number;
  scanned: number;
  seconds: number;
}

type ListOwners = () => Promise<readonly Accepted[]>;

const BEFORE_ALL_HOURS = -1;
const NO_LOG = { info: () => {}, warn: () => {}, error: () => {} };

export function addForget(program: Command): void {
  program
    .command("forget")
    .description(
      "delete a user's rows and dead letters, including those still in the pipeline. Counts stay, except those of " +
        "dead letters, which leave the counts. Run it again if it was killed. Exits with 2 on failure",
    )
    .requiredOption("--user <user>", "user id, as in the events", userArgument)
    .option("--stream <name>", "only this stream", streamArgument)
    .option("--dry-run", "delete nothing, only count", false)
    .option("--url <url>", `${URL_HELP}; used for embedded services only`, urlArgument)
    .option("--wait-for <seconds>", "how long to wait for unflushed events", secondsArgument, 60)
    .option("--json", "print the numbers as a JSON object", false)
    .action(exitWith(forget));
}

function userArgument(text: string): string {
  if (!isUserText(text)) throw new InvalidArgumentError(`Expected ${EXPECTS_USER}.`);
  return text;
}

/** Returns the exit code: 0 if nothing is left of the user. Throws HotUnavailableError or ColdUnavailableError. */
async function forget(config: Config, options: ForgetOptions): Promise<number> {
  requireData(config);
  const clock = systemClock();
  const stores = await createStores(config, clock.now);
  try {
    await stores.cold.open();
    await checkShards(stores.cold, config.redisShards);
    if (stores.mode !== "embedded") await openOwn(stores.hotShards, stores.cold);
    const service = new ServiceClient(config, options.url);
    const listOwners = () => journalOwners(stores, service, config.flushMaxEvents);
    await waitForJournals(stores, listOwners, options.waitFor, clock);
    const forgotten = await forgetUser(stores, options);
    print(options.json ? JSON.stringify(jsonOf(forgotten, options)) : textOf(forgotten, options));
    return 0;
  } finally {
    await closeStores(stores);
  }
}

async function waitForJournals(stores: Stores, listOwners: ListOwners, waitS: number, clock: Clock): Promise<void> {
  const { mode, hotShards, cold } = stores;
  const initializedMsAgo = () => youngestMs(stores);
  const left = await drain({ cold, listOwners, initializedMsAgo, timeoutMs: waitS * 1_000, clock });
  // From here on an embedded service may start, which needs its journal.
  if (mode === "embedded") await Promise.all(hotShards.map((hot) => hot.close()));
  if (left === 0) return;
  const advice = "Nothing was erased: run it again once they are flushed, or with a longer --wait-for";
  throw new HotUnavailableError(
    `after ${waitS} s ${amount(left, "event")} ${left === 1 ? "is" : "are"} not in the cold store, perhaps the ` +
      `user's. ${advice}`,
    false,
  );
}

/** Time since the last shard was initialized; undefined if a shard is not. In embedded mode orphans need no wait. */
async function youngestMs({ mode, hotShards }: Stores): Promise<number | undefined> {
  if (mode === "embedded") return Number.POSITIVE_INFINITY;
  const ages = await Promise.all(hotShards.map(async (hot) => (await hot.initialization())?.msAgo));
  return ages.reduce((least, age) => {
    return least === undefined || age === undefined ? undefined : Math.min(least, age);
  });
}

async function forgetUser(stores: Stores, options: ForgetOptions): Promise<Forgotten> {
  const { cold } = stores;
  const { user, stream, dryRun } = options;
  const selection: UserSelection = { user, stream };
  const startMs = performance.now();
  // Dead letters first: one that is replayed concurrently becomes a row, which is found below.
  const deadLetters = dryRun ? await cold.countUserDeadLetters(selection) : await eraseDeadLetters(stores, selection);
  const sizes = await cold.hourSizes();
  const sizeOf = new Map(sizes.map(({ hour, events }) => [hour, events]));
  const total = sizes.reduce((sum, { events }) => sum + events, 0);
  const report = reportTo(process.stderr);
  report.begin(0);
  let [erased, hours, scanned] = [NOTHING_ERASED, 0, 0];
  for (let hour = await cold.nextHourWithRows(BEFORE_ALL_HOURS); hour !== undefined; ) {
    const counts = dryRun ? await cold.countUserRows(selection, hour) : await cold.eraseUserRows(selection, hour);
    erased = addErased(erased, counts);
    hours += Number(counts.clicks + counts.impressions > 0);
    scanned += sizeOf.get(hour) ?? 0;
    report.progress({ name: "events", unit: "looked at", lines: scanned, readBytes: scanned, sizeBytes: total });
    hour = await cold.nextHourWithRows(hour);
  }
  report.end();
  const seconds = (performance.now() - startMs) / 1_000;
  return { ...erased, deadLetters, hours, scanned, seconds };
}

/** The hot store counted these events, and the cold store did not, so it must load their hours again. */
async function eraseDeadLetters({ mode, hotShards, cold }: Stores, selection: UserSelection): Promise<number> {
  const keys = await cold.eraseUserDeadLetters(selection);
  if (mode === "embedded") return keys.length;
  for (const key of keys) await Promise.all(hotShards.map((hot) => hot.retireHour(key)));
  return keys.length;
}

/** Excludes the user, so that it can be filed as a record. */
function jsonOf(forgotten: Forgotten, { dryRun }: ForgetOptions) {
  const { clicks, impressions, deadLetters, hours, scanned, seconds } = forgotten;
  return { dryRun, clicks, impressions, deadLetters, hours, scanned, seconds };
}

function textOf({ clicks, impressions, deadLetters, ...rest }: Forgotten, { dryRun }: ForgetOptions): string {
  const kinds = `${amount(clicks, "click")}, ${amount(impressions, "impression")}`;
  const rows = `${amount(clicks + impressions, "row")} (${kinds}) of ${amount(rest.hours, "hour")}`;
  const done = `${rows}, and ${amount(deadLetters, "dead letter")}`;
  const looked = `Looked at ${amount(rest.scanned, "event")} in ${rest.seconds.toFixed(1)} s.`;
  if (dryRun) return `Would erase ${done}. ${looked}`;
  const counts = deadLetters === 0 ? "Counts do not change." : "The dead letters leave the counts, the rows do not.";
  return `Erased ${done}. ${looked}
${counts} Sketches of unique users cannot be undone: they still count the user, and do not reveal it.
Event ids are deleted ${ID_TTL_TEXT} after their event arrived.`;
}

/** `service`: asked instead if it runs embedded, since it locks its journal. */
async function journalOwners(stores: Stores, service: ServiceClient, flushMaxEvents: number): ReturnType<ListOwners> {
  const { mode, hotShards, cold } = stores;
  try {
    await Promise.all(hotShards.map((hot) => hot.open()));
  } catch (error) {
    if (mode !== "embedded" || !(error instanceof HotUnavailableError)) throw error;
    return await ownersByService(service, cold, error);
  }
  for (const hot of hotShards) await refuseOtherDatabase(cold, await hot.dataSet());
  const recovery = { log: NO_LOG, ledger: new Ledger(), flushMaxEvents };
  for (const [shard, hot] of hotShards.entries()) {
    await adoptJournals({ ...recovery, hot, cold: coldShard(cold, shard, hotShards.length) });
  }
  return await allOwners(hotShards);
}

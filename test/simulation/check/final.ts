/**
 * The end of a run: all faults are over, everything drains, and every event is where its sender was told: rows, reads,
 * ledgers and `verify` agree.
 */
import { type HourKey, hourKeyName } from "../../../src/domain/event.ts";
import type { HourAnswer } from "../../../src/pipeline/read/hour-reader.ts";
import { verifyHour } from "../../../src/pipeline/upkeep/verify.ts";
import { countOf } from "../stores/cold/data.ts";
import { SLOW } from "../world/plan.ts";
import type { Process } from "../world/process.ts";
import type { World } from "../world/world.ts";
import { isRefused } from "./events.ts";
import { Failure } from "./failure.ts";

/** Above all deadlines and pauses between retries; to which leases are added that have to run out. */
const DRAIN_MS = 60_000;
const LEASES = 4;
const HURRY_MS = 5_000;
/** Above the interval of probes, however late they are. */
const LOOK_MS = 1_000;
const ANSWER_MS = 5_000;

/** Throws Failure. */
export function finish(world: World): void {
  heal(world);
  const limitMs = world.scheduler.nowMs + DRAIN_MS + LEASES * world.plan.settings.leaseMs;
  const hurryMs = world.scheduler.nowMs + HURRY_MS;
  while (!isSettled(world) && world.scheduler.nowMs < limitMs) {
    // What takes longer waits for leases to run out.
    if (world.scheduler.nowMs >= hurryMs) world.pace.leastIntervalMs = world.plan.settings.leaseMs * SLOW;
    while (!isDrained(world) && world.step(Math.min(limitMs, world.scheduler.nowMs + HURRY_MS)));
  }
  if (!isDrained(world))
    throw new Failure("not-drained", `after ${DRAIN_MS} ms and ${LEASES} leases: ${whatIsLeft(world)}`);
  checkEvents(world);
  world.throwFailure();
  for (const process of running(world)) {
    world.books.checkColumns(process);
    checkReads(world, process);
    checkLedger(world, process);
  }
  const [first] = running(world);
  if (first !== undefined) checkVerify(world, first);
  world.throwFailure();
}

/** Drained, and so a moment later: by then every process has looked at its stores. */
function isSettled(world: World): boolean {
  if (!isDrained(world)) return false;
  world.pace.leastIntervalMs = 0;
  for (const process of running(world)) process.hurry();
  const untilMs = world.scheduler.nowMs + LOOK_MS;
  while (world.step(untilMs));
  // What is owed may be committed during the read that looks for it.
  return isDrained(world) && !running(world).some((process) => isOwing(world, process)) && isDrained(world);
}

/** It says that reads may lack events: batches that were in doubt, and lost, wait until ids are known. */
function isOwing(world: World, process: Process): boolean {
  const [any] = world.events.all;
  return any !== undefined && awaited(world, process.pipeline.read(any), "a read").isDegraded;
}

function heal(world: World): void {
  const { scheduler, cold, masters, processes } = world;
  world.pace.leastIntervalMs = 0;
  world.isClosing = true;
  world.healLinks();
  for (const shard of masters.current.keys()) world.join(shard);
  for (const server of [cold, ...masters.current])
    server.frozenUntilMs = Math.min(server.frozenUntilMs, scheduler.nowMs);
  if (cold.isDown) cold.start();
  cold.isReadOnly = false;
  for (const server of masters.current) server.start(server.data);
  for (const [slot, process] of processes.entries()) {
    if (process === undefined || process.isDead) world.startProcess(slot);
    else process.frozenUntilMs = Math.min(process.frozenUntilMs, scheduler.nowMs);
    process?.hurry();
  }
}

function running({ processes }: World): readonly Process[] {
  return processes.filter((process): process is Process => process?.isRunning === true);
}

function isDrained(world: World): boolean {
  if (world.events.all.some(({ open }) => open > 0)) return false;
  for (const process of running(world)) {
    const { ledger, refusal } = process.pipeline;
    if (!world.storesOf(process).hotShards.every(({ isReady }) => isReady)) return false;
    if (ledger.pending > 0 || refusal !== undefined || !world.books.isIdle(process)) return false;
  }
  if (world.masters.haveLosses) return false;
  return world.masters.current.every(({ data }, shard) => {
    // Any other journal waits for its lease to run out, and for an adopter.
    const isFlushed = (writer: string) => {
      if (!world.masters.isInUse(writer, shard)) return false;
      const watermark = world.cold.data.storedThrough(writer);
      for (const [seq, { batch }] of data.journals.get(writer)!) {
        if (seq > watermark && batch.eventCount > 0) return false;
      }
      return true;
    };
    return data.meta !== undefined && [...data.journals.keys()].every(isFlushed);
  });
}

function whatIsLeft(world: World): string {
  const left: string[] = [];
  const open = world.events.all.filter((event) => event.open > 0).map(({ event }) => event.user);
  if (open.length > 0) left.push(`no answer to ${open.join(", ")}`);
  for (const { name, pipeline } of running(world)) {
    if (pipeline.refusal !== undefined) left.push(`${name} refuses events: ${pipeline.refusal}`);
    if (pipeline.ledger.pending > 0) left.push(`${name} has ${pipeline.ledger.pending} events pending`);
  }
  for (const { name, data } of world.masters.current) {
    if (data.meta === undefined) left.push(`${name} is not set up`);
    for (const [writer, journal] of data.journals) {
      if (journal.size > 0) left.push(`${journal.size} batches in the journal of ${writer} in ${name}`);
    }
  }
  if (world.masters.haveLosses) left.push("a hot store lacks writes, and not everybody knows");
  return left.join("; ");
}

function checkEvents(world: World): void {
  for (const sent of world.events.all) {
    const { event, rows, isExcused } = sent;
    const isAcknowledged = sent.acknowledgedMs < Number.POSITIVE_INFINITY;
    if (isAcknowledged && rows === 0 && !isExcused)
      world.report("acknowledged-lost", `${event.user} was acknowledged, and is no row`);
    if (isRefused(sent) && rows > 0) world.report("refused-stored", `${event.user} was refused, and is a row`);
  }
}

function awaited<T>(world: World, promise: Promise<T>, what: string): T {
  let outcome: { readonly value: T } | { readonly error: unknown } | undefined;
  promise.then(
    (value) => {
      outcome = { value };
    },
    (error: unknown) => {
      outcome = { error };
    },
  );
  world.settle();
  const limitMs = world.scheduler.nowMs + ANSWER_MS;
  while (outcome === undefined && world.step(limitMs));
  const found = outcome as { readonly value: T } | { readonly error: unknown } | undefined;
  if (found === undefined || "error" in found)
    throw new Failure("not-drained", `${what}: ${found === undefined ? "no answer" : String(found.error)}`);
  return found.value;
}

/** Of those that are retained. */
function hoursOf(world: World): readonly HourKey[] {
  const keys = new Map<string, HourKey>();
  for (const { stream, hour } of world.events.all) keys.set(hourKeyName(stream, hour), { stream, hour });
  const { rowsFrom } = world.cold.data.retained();
  return [...keys.values()].filter(({ hour }) => hour >= rowsFrom);
}

function checkReads(world: World, process: Process): void {
  const keys = hoursOf(world);
  const reads = Promise.all(keys.map((key) => process.pipeline.read(key)));
  for (const [i, found] of awaited(world, reads, "reads at the end").entries()) checkRead(world, keys[i]!, found);
}

function checkRead(world: World, key: HourKey, found: HourAnswer): void {
  // It may have expired since it was asked for.
  if (key.hour < world.cold.data.retained().rowsFrom) return;
  const rows = world.cold.data.rows.get(hourKeyName(key.stream, key.hour)) ?? [];
  const right = countOf(rows);
  const name = `${key.stream} ${new Date(key.hour).toISOString()}`;
  if (found.isDegraded) world.report("not-drained", `${name} is read, and said to be incomplete, at the end`);
  if (found.clicks !== right.clicks || found.impressions !== right.impressions)
    world.report(
      "hour-counts",
      `${name}: at the end ${found.clicks + found.impressions} are read, of ${rows.length} rows`,
    );
  if (found.uniqueUsers !== right.users.count())
    world.report("hour-users", `${name}: at the end ${found.uniqueUsers} users are read, of ${right.users.count()}`);
}

function checkLedger(world: World, process: Process): void {
  const { accepted, persisted, pending } = awaited(world, process.pipeline.storesLedger(), "the ledger of the stores");
  // Also those that are no longer retained.
  const rows = world.events.all.reduce((sum, sent) => sum + sent.rows, 0);
  if (accepted !== rows || persisted !== rows || pending !== 0)
    world.report("ledger", `the stores have accepted ${accepted} and persisted ${persisted}, of ${rows} rows`);
}

/** Checks one hour: all would make a seed 8 % dearer, and each step has compared the stores. */
function checkVerify(world: World, process: Process): void {
  const { hotShards, cold } = world.storesOf(process);
  const hours = hoursOf(world);
  if (hours.length === 0) return;
  const key = world.random.pick(hours);
  const verdicts = Promise.all(
    hotShards.map((hot, shard) => verifyHour({ cold, hot, shard, isRepairing: false }, key)),
  );
  for (const { differences } of awaited(world, verdicts, "verify")) {
    if (differences.length > 0) world.report("verify", differences.join("; "));
  }
}

/**
 * Runs the service until it is told to stop.
 * Invariant: it listens only once the stores were tried, and after SIGTERM or SIGINT it ends within
 * STOP_DEADLINE_MS (and DRAIN_MS), with 0 if everything was closed in order.
 */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { version } from "../../../package.json";
import { createApp } from "../../http/app.ts";
import type { Certificate, Siblings } from "../../http/route-options.ts";
import { createSources, sourceDescriptions } from "../../intake/open-sources.ts";
import { Pipeline } from "../../pipeline/pipeline.ts";
import { type Clock, systemClock } from "../../runtime/clock.ts";
import { errorText, withDeadline } from "../../runtime/deadline.ts";
import { LoopLag } from "../../runtime/event-loop-lag.ts";
import { type Log, logWith } from "../../runtime/log.ts";
import { Metrics } from "../../runtime/metrics.ts";
import { CalmLog } from "../../runtime/repeat-log.ts";
import { readPem } from "../../settings/pem-file.ts";
import { type Config, ConfigError } from "../../settings/settings.ts";
import { type ColdStore, ColdUnavailableError } from "../../store/cold.ts";
import { fixShards } from "../../store/cold-shard.ts";
import type { HotStore } from "../../store/hot.ts";
import { createStores, type Stores } from "../../store/open.ts";
import { StoreWatch } from "../../store/watch.ts";
import { listeningUrl } from "../service/own-url.ts";
import { createAccess } from "./access-parts.ts";
import { keepFreedMemory } from "./allocator.ts";
import { ownCommand } from "./own-command.ts";
import { SUPERVISOR_VARIABLE, Supervisor, WORKER_VARIABLE } from "./supervise.ts";
import { siblingsOf } from "./worker-channel.ts";

/** Below the 30 s after which orchestrators usually kill. */
const STOP_DEADLINE_MS = 25_000;
const REQUESTS_GRACE_MS = 2_000;
const PARENT_CHECK_MS = 500;
/** A cold store that says nothing must not keep the service from starting. */
const CHECK_TIMEOUT_MS = 2_000;

export interface Service {
  readonly url: string;
  stop(): Promise<void>;
}

export async function serve(config: Config): Promise<void> {
  const worker = process.env[WORKER_VARIABLE];
  // A worker has the settings of its supervisor: started anew it would lose its channel to that.
  keepFreedMemory(process.env);
  // Standard output is for the first lines; the log is on standard error, one JSON object a line.
  const base = worker === undefined ? null : { worker: Number(worker) };
  const lines = pino({ level: config.logLevel, base }, pino.destination({ dest: 2, sync: true }));
  const clock = systemClock();
  const log = new CalmLog(lines, clock.now);
  if (worker === undefined && config.workers > 1) return await superviseWorkers(config, log, clock);
  let service: Service | undefined;
  // Told to end while it starts, it just ends: it has taken nothing yet, and recovery may be cut off anywhere.
  const stop = stopOnSignal(async () => service?.stop(), log, STOP_DEADLINE_MS + config.drainMs);
  if (worker !== undefined) whenParentEnds(() => void stop("the supervisor ended"));
  const requestLog = config.isEachRequestLogged ? lines : undefined;
  const siblings = worker === undefined ? undefined : siblingsOf(Number(worker), config.workers);
  const started = await startService(config, { log, clock, requestLog, siblings });
  ({ service } = started);
  if (worker === undefined) console.log(firstLines(service.url, started.stores, config));
}

/** A supervisor that was killed cannot end its workers: they would keep the port. */
function whenParentEnds(act: () => void): void {
  const supervisor = process.env[SUPERVISOR_VARIABLE];
  const timer = setInterval(() => {
    if (String(process.ppid) === supervisor) return;
    clearInterval(timer);
    act();
  }, PARENT_CHECK_MS);
}

async function superviseWorkers(config: Config, log: CalmLog, clock: Clock): Promise<never> {
  const { workers } = config;
  // The same for all workers, or each would know a visitor without an id by another name.
  const environment = { ...process.env, USER_SALT: config.userSalt ?? randomBytes(32).toString("base64url") };
  const supervisor = new Supervisor({ workers, log, command: ownCommand(), environment });
  for (const why of ["SIGTERM", "SIGINT"] as const) {
    process.on(why, () => {
      log.info({ why }, "stopping");
      supervisor.stop("SIGTERM");
    });
  }
  const url = listeningUrl(config);
  log.info({ version, pid: process.pid, url, workers }, "started");
  console.log(firstLines(url, createStores(config, clock.now), config));
  const code = await supervisor.run();
  log.close();
  log.info({ code }, "stopped");
  process.exit(code);
}

export interface Surroundings {
  readonly log: Log;
  readonly clock: Clock;
  readonly requestLog?: Log | undefined;
  readonly siblings?: Siblings | undefined;
}

/** Throws ConfigError if the stores cannot be used as they are set up. */
export async function startService(config: Config, surroundings: Surroundings) {
  const { log, clock, requestLog, siblings } = surroundings;
  const { now } = clock;
  const { stores, watches } = watchedStores(createStores(config, now, true), log);
  const { hotShards, cold } = stores;
  await openHotStores(config, stores, log);
  await checkShards(config, cold);
  const access = createAccess(config, cold, log, clock);
  const certificate = certificateOf(config);
  const metrics = new Metrics();
  const pipeline = new Pipeline({ hotShards, cold, metrics, log, clock, settings: config });
  await Promise.all([pipeline.start(), access?.start()]);
  const sources = createSources(config, { pipeline, log, now });
  const sharesPort = config.workers > 1;
  const app = createApp({
    ...{ log, now, requestLog, siblings },
    ...{ pipeline, sources, metrics, sharesPort, stores: watches, browserSettings: config },
    ...{ access: access?.access, certificate },
  });
  const server = await listen(app, config);
  const loopLag = new LoopLag(metrics.loopLagSeconds);
  loopLag.start();
  logStart(log, server.url.origin, stores);
  for (const source of sources) source.start();
  const stop = async () => {
    pipeline.leave();
    await Bun.sleep(config.drainMs);
    loopLag.stop();
    // The sources first: what they have under way is settled, and acknowledged.
    await Promise.all(sources.map((source) => source.stop()));
    // The server last: it closes every connection that is between two requests, and with it any request that
    // is under way to here. Meanwhile events are refused, and clients told to close the connection.
    await pipeline.stop();
    await withDeadline(server.stop(), REQUESTS_GRACE_MS, () => new Error("requests still open")).catch(
      () => {},
    );
    await server.stop(true);
    await access?.stop();
    await Promise.all([...hotShards, cold].map((store) => store.close()));
  };
  return { service: { url: server.url.origin, stop } satisfies Service, stores, pipeline };
}

/** Throws ConfigError. */
function certificateOf({ tlsCertFile, tlsKeyFile }: Config): Certificate | undefined {
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return undefined;
  return { cert: readPem("TLS_CERT_FILE", tlsCertFile), key: readPem("TLS_KEY_FILE", tlsKeyFile) };
}

/** Each shard is watched for itself: that one is away says nothing of the others. */
function watchedStores({ mode, hotShards, cold }: Stores, log: Log) {
  const watchOfShard = (shard: number) =>
    hotShards.length === 1
      ? new StoreWatch("hot", log)
      : new StoreWatch("hot", logWith(log, { shard }), shard);
  const ofShards = hotShards.map((_, shard) => watchOfShard(shard));
  const ofCold = new StoreWatch("cold", log);
  const stores: Stores = {
    mode,
    hotShards: hotShards.map((hot, shard) => ofShards[shard]!.watched(hot)),
    cold: ofCold.watched(cold),
  };
  return { stores, watches: [...ofShards, ofCold] };
}

function logStart(log: Log, url: string, { mode, hotShards, cold }: Stores): void {
  const stores = { hotStore: hotShards[0]!.description, coldStore: cold.description };
  const shards = hotShards.length > 1 ? { shards: hotShards.length } : {};
  log.info({ version, pid: process.pid, url, mode, ...shards, ...stores }, "started");
}

async function openHotStores(config: Config, stores: Stores, log: Log): Promise<void> {
  const opened = stores.hotShards.map((hot) => openHotStore(config, stores.mode, hot));
  // They are all on the same servers: what is said of several is said once.
  const warnings = new Set((await Promise.all(opened)).flat());
  for (const warning of warnings) log.warn({}, warning);
}

/** Answers what there is to warn of. Throws ConfigError. */
async function openHotStore(config: Config, mode: Stores["mode"], hot: HotStore): Promise<readonly string[]> {
  try {
    const warnings = await hot.open();
    if (config.isDurabilityStrict && warnings.length > 0) {
      throw new ConfigError(`STRICT_DURABILITY is 1, but: ${warnings.join(" ")}`);
    }
    return warnings;
  } catch (error) {
    // A folder does not come back by waiting. A Redis does: until then events are answered with 503.
    if (mode === "embedded" || error instanceof ConfigError) throw new ConfigError(errorText(error));
    return [];
  }
}

/** Each shard asks again before it stores anything: a cold store that is away, or silent, says it then. */
async function checkShards({ redisShards }: Config, cold: ColdStore): Promise<void> {
  const checked = cold.open().then(() => fixShards(cold, redisShards));
  const silent = () => new ColdUnavailableError(`no answer in ${CHECK_TIMEOUT_MS} ms`);
  try {
    await withDeadline(checked, CHECK_TIMEOUT_MS, silent);
  } catch (error) {
    if (!(error instanceof ColdUnavailableError)) throw error;
  }
}

async function listen(app: ReturnType<typeof createApp>, { port, host }: Config) {
  try {
    app.listen({ port, hostname: host });
  } catch (error) {
    const advice =
      "set PORT to a free one (0 takes any), HOST to an address of this machine, and TLS_CERT_FILE and " +
      "TLS_KEY_FILE, if any, to a certificate and its key";
    throw new ConfigError(`Cannot listen on ${host}:${port}: ${errorText(error)}; ${advice}`);
  }
  return app.server!;
}

function firstLines(url: string, { mode, hotShards, cold }: Stores, config: Config): string {
  const { workers } = config;
  const shards = hotShards.length > 1 ? `, ${hotShards.length} shards` : "";
  const queues = sourceDescriptions(config).map((description) => `\n  events from   ${description}`);
  return `Hourglass counts clicks, impressions and unique users per hour.
  listening on  ${url}
  dashboard     ${url}/
  mode          ${mode}${workers > 1 ? `, ${workers} workers` : ""}
  hot store     ${hotShards[0]!.description}${shards}
  cold store    ${cold.description}${queues.join("")}

Try:
  curl -i -X POST "${url}/analytics?timestamp=$(date +%s000)&user=foo&click"
  curl "${url}/analytics?timestamp=$(date +%s000)"
`;
}

/** Answers what does the same without a signal. */
function stopOnSignal(
  stopService: () => Promise<void>,
  log: CalmLog,
  deadlineMs: number,
): (why: string) => Promise<void> {
  let isStopping = false;
  const stop = async (why: string) => {
    if (isStopping) return;
    isStopping = true;
    log.info({ why }, "stopping");
    try {
      await withDeadline(stopService(), deadlineMs, () => new Error(`not done in ${deadlineMs} ms`));
      log.close();
      log.info({}, "stopped");
      process.exit(0);
    } catch (error) {
      log.close();
      log.error({ error: errorText(error) }, "stopped in disorder: what is unflushed is in the journal");
      process.exit(1);
    }
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void stop(signal));
  return stop;
}

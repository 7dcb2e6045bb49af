/**
 * Runs the service until it is told to stop.
 * Invariant: it listens only once the stores were tried, and after SIGTERM or SIGINT it ends within
 * STOP_DEADLINE_MS, with 0 if everything was closed in order.
 */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { type Config, ConfigError } from "../config.ts";
import { errorText, withDeadline } from "../count/deadline.ts";
import type { Log } from "../count/log.ts";
import { Metrics } from "../count/metrics.ts";
import { createApp } from "../http/app.ts";
import { Pipeline } from "../pipeline/pipeline.ts";
import { createStores, type Stores } from "../store/open.ts";
import { keepFreedMemory } from "./allocator.ts";
import { ownCommand } from "./own-command.ts";
import { SUPERVISOR_VARIABLE, Supervisor, WORKER_VARIABLE } from "./supervise.ts";

/** Below the 30 s after which orchestrators usually kill. */
const STOP_DEADLINE_MS = 25_000;
const REQUESTS_GRACE_MS = 2_000;
const PARENT_CHECK_MS = 500;

export interface Service {
  readonly url: string;
  stop(): Promise<void>;
}

export async function serve(config: Config): Promise<void> {
  keepFreedMemory(process.env);
  // Standard output is for the first lines; the log is on standard error, one JSON object a line.
  const worker = process.env[WORKER_VARIABLE];
  const base = worker === undefined ? null : { worker: Number(worker) };
  const log = pino({ level: config.logLevel, base }, pino.destination({ dest: 2, sync: true }));
  if (worker === undefined && config.workers > 1) return await superviseWorkers(config, log);
  let service: Service | undefined;
  // Told to end while it starts, it just ends: it has taken nothing yet, and recovery may be cut off anywhere.
  const stop = stopOnSignal(async () => service?.stop(), log);
  if (worker !== undefined) whenParentEnds(() => void stop("the supervisor ended"));
  const started = await startService(config, log, Date.now);
  ({ service } = started);
  if (worker === undefined) console.log(firstLines(service.url, started.stores, 1));
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

async function superviseWorkers(config: Config, log: Log): Promise<never> {
  const { workers, host, port } = config;
  // The same for all workers, or each would know a visitor without an id by another name.
  const environment = { ...process.env, USER_SALT: config.userSalt ?? randomBytes(32).toString("base64url") };
  const supervisor = new Supervisor({ workers, log, command: ownCommand(), environment });
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => supervisor.stop("SIGTERM"));
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  console.log(firstLines(url, createStores(config, Date.now), workers));
  process.exit(await supervisor.run());
}

/** Throws ConfigError if the stores cannot be used as they are set up. */
export async function startService(config: Config, log: Log, now: () => number) {
  const stores = createStores(config, now, true);
  const { hot, cold } = stores;
  await openHotStore(config, stores, log);
  const metrics = new Metrics();
  const pipeline = new Pipeline({ hot, cold, metrics, log, now, settings: config });
  await pipeline.start();
  const sharesPort = config.workers > 1;
  const app = createApp({ pipeline, metrics, log, now, sharesPort, browserSettings: config });
  const server = await listen(app, config);
  const stop = async () => {
    // The server last: it closes every connection that is between two requests, and with it any request that
    // is under way to here. Meanwhile events are refused, and clients told to close the connection.
    await pipeline.stop();
    await withDeadline(server.stop(), REQUESTS_GRACE_MS, () => new Error("requests still open")).catch(
      () => {},
    );
    await server.stop(true);
    await Promise.all([hot.close(), cold.close()]);
  };
  return { service: { url: server.url.origin, stop } satisfies Service, stores, pipeline };
}

async function openHotStore(config: Config, { mode, hot }: Stores, log: Log): Promise<void> {
  try {
    const warnings = await hot.open();
    if (config.isDurabilityStrict && warnings.length > 0) {
      throw new ConfigError(`STRICT_DURABILITY is 1, but: ${warnings.join(" ")}`);
    }
    for (const warning of warnings) log.warn({}, warning);
  } catch (error) {
    // A folder does not come back by waiting. A Redis does: until then events are answered with 503.
    if (mode === "embedded" || error instanceof ConfigError) throw new ConfigError(errorText(error));
    log.warn({ error: errorText(error) }, "the hot store is away, and will be tried again");
  }
}

async function listen(app: ReturnType<typeof createApp>, { port, host }: Config) {
  try {
    app.listen({ port, hostname: host });
  } catch (error) {
    const advice = "set PORT to a free one (0 takes any), and HOST to an address of this machine";
    throw new ConfigError(`Cannot listen on ${host}:${port}: ${errorText(error)}; ${advice}`);
  }
  return app.server!;
}

function firstLines(url: string, { mode, hot, cold }: Stores, workers: number): string {
  return `Hourglass counts clicks, impressions and unique users per hour.
  listening on  ${url}
  dashboard     ${url}/
  mode          ${mode}${workers > 1 ? `, ${workers} workers` : ""}
  hot store     ${hot.description}
  cold store    ${cold.description}

Try:
  curl -i -X POST "${url}/analytics?timestamp=$(date +%s000)&user=foo&click"
  curl "${url}/analytics?timestamp=$(date +%s000)"
`;
}

/** Answers what does the same without a signal. */
function stopOnSignal(stopService: () => Promise<void>, log: Log): (why: string) => Promise<void> {
  let isStopping = false;
  const stop = async (why: string) => {
    if (isStopping) return;
    isStopping = true;
    log.info({ why }, "stopping");
    try {
      await withDeadline(
        stopService(),
        STOP_DEADLINE_MS,
        () => new Error(`not done in ${STOP_DEADLINE_MS} ms`),
      );
      log.info({}, "stopped");
      process.exit(0);
    } catch (error) {
      log.error({ error: errorText(error) }, "stopped in disorder: what is unflushed is in the journal");
      process.exit(1);
    }
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void stop(signal));
  return stop;
}

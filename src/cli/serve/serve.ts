/**
 * `hourglass serve`: runs the service until it is stopped.
 * Invariant: after SIGTERM or SIGINT it ends within STOP_DEADLINE_MS (plus DRAIN_MS), with status 0 if everything
 * closed in order.
 */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { version } from "../../../package.json";
import { sourceDescriptions } from "../../intake/create-sources.ts";
import { type Clock, systemClock, withDeadline } from "../../runtime/clock.ts";
import { errorText } from "../../runtime/error-text.ts";
import type { InvariantError } from "../../runtime/invariant-error.ts";
import { CalmLog } from "../../runtime/log.ts";
import { onStopSignal } from "../../runtime/signals.ts";
import type { Config, ConfigError } from "../../settings/settings.ts";
import { createStores, type Stores } from "../../store/open.ts";
import { listeningUrl } from "../shared/service-client.ts";
import { reservePort, tryPort } from "./port.ts";
import { type Service, startService } from "./service.ts";
import { ownCommand } from "./startup-environment.ts";
import { reportListening, SUPERVISOR_VARIABLE, Supervisor, siblingsOf, WORKER_VARIABLE } from "./workers.ts";

/** Below the 30 s after which orchestrators usually kill. */
const STOP_DEADLINE_MS = 25_000;
const PARENT_CHECK_MS = 500;

export async function serve(config: Config): Promise<void> {
  const worker = process.env[WORKER_VARIABLE];
  const isTerminal = process.stdout.isTTY && process.stderr.isTTY;
  const base = worker === undefined ? null : { worker: Number(worker) };
  // A terminal shows the banner, plus only warnings and errors of the log.
  const level = isTerminal && config.logLevel === "info" ? "warn" : config.logLevel;
  const lines = pino({ level, base }, pino.destination({ dest: 2, sync: true }));
  const clock = systemClock();
  const log = new CalmLog(lines, clock.now);
  if (worker === undefined && config.workers > 1) return await superviseWorkers(config, log, clock);
  let service: Service | undefined;
  // A signal during start-up just ends the process: nothing was accepted yet, and recovery may be interrupted anywhere.
  const stop = stopOnSignal(async () => service?.stop(), log, STOP_DEADLINE_MS + config.drainMs);
  if (worker !== undefined) whenParentEnds(() => void stop("the supervisor ended"));
  const requestLog = config.isEachRequestLogged ? lines : undefined;
  const siblings = worker === undefined ? undefined : siblingsOf(Number(worker), config.workers);
  const onBrokenInvariant = (error: InvariantError) => endAtOnce(error, log);
  const refused = Promise.withResolvers<never>();
  const onRefusedStore = (error: ConfigError) => {
    log.close();
    refused.reject(error);
  };
  const starting = startService(config, { log, clock, onBrokenInvariant, onRefusedStore, requestLog, siblings });
  service = await Promise.race([starting, refused.promise]);
  if (worker === undefined) console.log(banner(service.url, service.stores, config));
  else reportListening();
  // Rejects if a store is refused when it first answers, which is then reported as at the start.
  await refused.promise;
}

/** Not an orderly stop, which would use the wrong state. */
function endAtOnce({ message, stack }: InvariantError, log: CalmLog): never {
  log.error({ error: message, stack }, "ended: continuing could lose or double events; others adopt the journal");
  log.close();
  process.exit(1);
}

/** Stops the worker when its supervisor dies, since it would keep the port. */
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
  // Shared by all workers; otherwise a visitor without an id would be a different user on each.
  const environment = { ...process.env, USER_SALT: config.userSalt ?? randomBytes(32).toString("base64url") };
  reservePort(config);
  await tryPort(config);
  const stores = await createStores(config, clock.now);
  const onListening = () => {
    const url = listeningUrl(config);
    log.info({ version, pid: process.pid, url, workers }, "started");
    console.log(banner(url, stores, config));
  };
  const supervisor = new Supervisor({ workers, log, command: ownCommand(), environment, onListening });
  onStopSignal((why) => {
    log.info({ why }, "stopping");
    supervisor.stop();
  });
  const code = await supervisor.run();
  log.close();
  log.info({ code }, "stopped");
  process.exit(code);
}

function banner(url: string, { mode, hotShards, cold }: Stores, config: Config): string {
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
      log.error({ error: errorText(error) }, "stop failed: unflushed events are in the journal");
      process.exit(1);
    }
  };
  onStopSignal((signal) => void stop(signal));
  return stop;
}

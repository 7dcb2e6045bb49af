/**
 * One running instance: starts and stops the stores, the pipeline, the sources of events and the HTTP server in order.
 * Invariant: nothing is written, not even a folder, before the port is known to be free. Requests are accepted only
 * after the stores were tried.
 */
import { version } from "../../../package.json";
import { Access } from "../../http/access/access.ts";
import { KeyRing } from "../../http/access/key-ring.ts";
import { RateLimiter } from "../../http/access/rate-limiter.ts";
import { createApp } from "../../http/app.ts";
import { ClientAddresses } from "../../http/requests/client-address.ts";
import type { Siblings } from "../../http/route-options.ts";
import { createSources } from "../../intake/create-sources.ts";
import { Pipeline } from "../../pipeline/pipeline.ts";
import { type Clock, withDeadline } from "../../runtime/clock.ts";
import { errorText } from "../../runtime/error-text.ts";
import type { InvariantHandler } from "../../runtime/invariant-error.ts";
import { type Log, logWith } from "../../runtime/log.ts";
import { Metrics, measureLoopLag } from "../../runtime/metrics.ts";
import { type Config, ConfigError } from "../../settings/settings.ts";
import { type ColdConnection, ColdUnavailableError, type KeyStore, type OnReplicaChange } from "../../store/cold.ts";
import { fixShards, refuseOtherDatabase, refuseOtherTime } from "../../store/cold-shard.ts";
import type { HotStore } from "../../store/hot.ts";
import { closeStores, createAccessStore, createStores, type Stores } from "../../store/open.ts";
import { StoreWatch } from "../../store/store-watch.ts";
import { StoreUnavailableError } from "../../store/unavailable-error.ts";
import { durabilityReport } from "./durability-report.ts";
import { certificateOf, listening, tryPort } from "./port.ts";

const REQUESTS_GRACE_MS = 2_000;
/** A cold store that does not answer must not prevent the start. */
const CHECK_TIMEOUT_MS = 2_000;

export interface Service {
  readonly url: string;
  readonly stores: Stores;
  stop(): Promise<void>;
}

export interface Surroundings {
  readonly log: Log;
  readonly clock: Clock;
  readonly onBrokenInvariant: InvariantHandler;
  /** Called if a store is not usable as configured, which may only turn out once it answers. */
  readonly onRefusedStore: (error: ConfigError) => void;
  readonly requestLog?: Log | undefined;
  readonly siblings?: Siblings | undefined;
}

/** Throws ConfigError if the port, the certificate or a store can't be used as configured. */
export async function startService(config: Config, surroundings: Surroundings): Promise<Service> {
  const { log, clock, onBrokenInvariant, requestLog, siblings } = surroundings;
  const { now } = clock;
  const sharesPort = config.workers > 1;
  // The supervisor tried it. A listener that only tries would take connections of the other workers, and cut them off.
  if (!sharesPort) await tryPort(config);
  const { ofStore, onRefusedServer } = durabilityReport(config, surroundings);
  const created = await createStores(config, now, {
    isService: true,
    onRefusedServer,
    onReplicaChange: replicaLog(log),
  });
  const { stores, watches } = watchedStores(created, log, ofStore);
  const { hotShards, cold } = stores;
  await openStores(config, stores);
  const addresses = new ClientAddresses(config.trustedProxies, log);
  const access = await createAccess(config, cold, log, clock, addresses);
  const metrics = new Metrics();
  const pipeline = new Pipeline({
    ...{ hotShards, cold, metrics, log, clock, onBrokenInvariant },
    settings: config,
  });
  await Promise.all([pipeline.start(), access?.start()]);
  const sources = createSources(config, { pipeline, log, now });
  const app = createApp({
    ...{ log, now, requestLog, siblings, idleTimeoutS: config.idleTimeoutS },
    ...{ pipeline, sources, metrics, sharesPort, stores: watches, browserSettings: config },
    ...{ access, addresses, certificate: certificateOf(config) },
  });
  const server = listen(app, config);
  const stopLoopLag = measureLoopLag(metrics.loopLagSeconds);
  const url = server.url.origin;
  logStart(log, url, stores);
  for (const source of sources) source.start();
  const stop = async () => {
    pipeline.leave();
    await Bun.sleep(config.drainMs);
    stopLoopLag();
    // Stop the sources first, so that their messages in flight are committed and acknowledged.
    await Promise.all(sources.map((source) => source.stop()));
    // Stop the server last, since closing idle connections loses requests that are about to arrive. Until then events
    // are refused, and clients are asked to close their connections.
    await pipeline.stop();
    await withDeadline(server.stop(), REQUESTS_GRACE_MS, () => new Error("requests still open")).catch(() => {});
    await server.stop(true);
    await access?.stop();
    await closeStores(stores);
  };
  return { url, stores, stop };
}

/** Each shard has its own watch: one may be unavailable while the others work. */
function watchedStores(
  { mode, hotShards, cold }: Stores,
  log: Log,
  reportOf: ReturnType<typeof durabilityReport>["ofStore"],
) {
  const watchOfShard = (shard: number) => {
    const onOpen = reportOf("hot");
    if (hotShards.length === 1) return new StoreWatch("hot", log, onOpen);
    return new StoreWatch("hot", logWith(log, { shard }), onOpen, shard);
  };
  const ofShards = hotShards.map((_, shard) => watchOfShard(shard));
  const ofCold = new StoreWatch("cold", log, reportOf("cold"));
  const stores: Stores = {
    mode,
    hotShards: hotShards.map((hot, shard) => ofShards[shard]!.watched(hot)),
    cold: ofCold.watched(cold),
  };
  return { stores, watches: [...ofShards, ofCold] };
}

function replicaLog(log: Log): OnReplicaChange {
  return (problem) => {
    if (problem === undefined) log.info({}, "ranges are read from the replica again");
    else log.warn({ problem }, "MYSQL_READ_URL leads to no usable replica: ranges are read from the primary");
  };
}

function logStart(log: Log, url: string, { mode, hotShards, cold }: Stores): void {
  const stores = { hotStore: hotShards[0]!.description, coldStore: cold.description };
  const shards = hotShards.length > 1 ? { shards: hotShards.length } : {};
  log.info({ version, pid: process.pid, url, mode, ...shards, ...stores }, "started");
}

/** Throws ConfigError, and leaves no logs of SQLite that would be applied to a file which the operator puts back. */
async function openStores(config: Config, stores: Stores): Promise<void> {
  try {
    await Promise.all(stores.hotShards.map((hot) => openHotStore(stores.mode, hot)));
    await checkColdStore(config, stores);
  } catch (error) {
    await closeStores(stores);
    throw error;
  }
}

/** Throws ConfigError. */
async function openHotStore(mode: Stores["mode"], hot: HotStore): Promise<void> {
  try {
    await hot.open();
  } catch (error) {
    // A bad folder stays bad, but Redis may become available: until then events get 503.
    if (mode === "embedded" || error instanceof ConfigError) throw new ConfigError(errorText(error));
  }
}

/** Throws ConfigError. Does not wait for an unavailable MySQL: each shard checks again before it stores. */
async function checkColdStore(config: Config, { mode, hotShards, cold }: Stores): Promise<void> {
  const check = async () => {
    await cold.open();
    await fixShards(cold, config.redisShards);
    for (const hot of hotShards) await refuseOtherDatabase(cold, hot.isReady ? await hot.dataSet() : undefined);
    if (mode === "embedded") await refuseOtherTime(cold, hotShards[0]!);
  };
  const silent = () => new ColdUnavailableError(`no answer in ${CHECK_TIMEOUT_MS} ms`);
  try {
    await (mode === "embedded" ? check() : withDeadline(check(), CHECK_TIMEOUT_MS, silent));
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
  }
}

function listen(app: ReturnType<typeof createApp>, config: Config) {
  const { port, host: hostname } = config;
  listening(config, () => app.listen({ port, hostname }));
  return app.server!;
}

/** API keys and rate limits; undefined if no setting restricts access. */
async function createAccess(
  config: Config,
  cold: KeyStore & Pick<ColdConnection, "open" | "dataSet">,
  log: Log,
  clock: Clock,
  addresses: ClientAddresses,
): Promise<Access | undefined> {
  const { requiredScopes = [], addressLimit } = config;
  if (requiredScopes.length === 0 && addressLimit === undefined) return undefined;
  const store = await createAccessStore(config, cold);
  const nowMs = clock.monotonicMs;
  return new Access({
    ...{ store, addressLimit, addresses, requiredScopes: new Set(requiredScopes) },
    keys: new KeyRing({ cold, store, log, clock }),
    keyLimits: new RateLimiter({ kind: "key", store, log, nowMs }),
    addressLimits: new RateLimiter({ kind: "address", store, log, nowMs }),
  });
}

/** All settings, by group. Each has one entry here, which defines its type, check, default and help. */
import { EXPECTS_TOKEN, isToken, SCOPES } from "../domain/api-key.ts";
import { EXPECTS_RATE, type RateLimit, rateLimitOf } from "../domain/rate-limit.ts";
import { SHARDS_MAX } from "../domain/shard-of.ts";
import { EXPECTS_STREAM_GRANT, isStreamGrant } from "../domain/stream-rules.ts";
import { BROKER_NAMES, brokerPlaceOf, EXPECTS_BROKER_URL, isKafkaUrl, problemInBrokerUrl } from "./broker-url.ts";
import { EXPECTS_REDIS_URL, problemInRedisUrl, redisPlaceOf } from "./redis-url.ts";
import {
  days,
  file,
  flag,
  integer,
  list,
  type OffUnlessSet,
  offUnlessSet,
  oneOf,
  origins,
  place,
  type Setting,
  secret,
  text,
  unknownOption,
  url,
  type WithDefault,
} from "./setting-kinds.ts";

const QUEUE_NAME_MAX_BYTES = 255;
const PREFETCH = 1_000;
const KAFKA_PREFETCH = 10_000;
/** Two masters with evenly spread slots get 2 and 4 shards, three get 1, 3 and 2. */
const CLUSTER_SHARDS = 6;

/** A single shard would use only one master of a cluster. */
const DEFAULT_SHARDS = {
  text: `${CLUSTER_SHARDS} if REDIS_URL names several cluster nodes, else 1`,
  valueIn: (environment: Readonly<Record<string, string | undefined>>) =>
    String(redisPlaceOf(environment["REDIS_URL"] ?? "")?.kind === "cluster" ? CLUSTER_SHARDS : 1),
};

const HOST: WithDefault<string> = {
  ...text("HOST", "127.0.0.1").help("address to listen on; 0.0.0.0 for all addresses of the machine"),
  // Commands put an IPv6 address into a URL, and its brackets around it.
  parse: (value) => value.replace(/^\[(.*)\]$/, "$1") || undefined,
};

const MYSQL = { protocols: ["mysql:"], example: "mysql://user:password@host:3306/hourglass" };

/** mysql2 accepts any option in a URL; some change how values are read, or leave the connection unencrypted. */
function problemInMysqlUrl(parsed: URL): string | undefined {
  if (!/^\/[^/]+$/.test(parsed.pathname)) return "it must name one database after the host";
  const unknown = unknownOption(parsed, ["socketPath"]);
  return unknown && (/ssl/i.test(parsed.search) ? `${unknown}; set MYSQL_TLS=1 for TLS` : unknown);
}

export const SETTING_GROUPS = {
  "The server": {
    port: integer("PORT", 7777, [0, 65_535]).help("port to listen on; 0 picks a free one"),
    host: HOST,
    tlsCertFile: file("TLS_CERT_FILE").help("certificate with its chain (PEM); the server then speaks HTTPS only"),
    tlsKeyFile: file("TLS_KEY_FILE").help("private key of the certificate (PEM)"),
    workers: integer("WORKERS", 1, [1, 64]).help("processes on one port (SO_REUSEPORT); needs REDIS_URL"),
    trustedProxies: integer("TRUST_PROXY", 0, [0, 10]).help(
      "number of proxies in front, each of which appends an entry to X-Forwarded-For",
    ),
    idleTimeoutS: integer("IDLE_TIMEOUT_S", 180, [0, 255]).help(
      "how long an idle connection stays open; must exceed the timeout of any load balancer in front; 0: no limit",
    ),
    drainMs: integer("DRAIN_MS", 0, [0, 60_000]).help(
      "how long events are still accepted after SIGTERM, while /readyz already reports not ready",
    ),
    logLevel: oneOf("LOG_LEVEL", "info", ["debug", "info", "warn", "error", "silent"]).help(
      "lowest level that is logged",
    ),
    isEachRequestLogged: flag("LOG_REQUESTS").help("1 logs a line for each request"),
  },
  Stores: {
    dataDir: text("DATA_DIR", "./data").help("folder of the embedded stores"),
    redisUrl: place("REDIS_URL", EXPECTS_REDIS_URL, redisPlaceOf, problemInRedisUrl).help(
      "hot store: one server, a cluster or Sentinels; needs MYSQL_URL too; embedded if neither is set",
    ),
    redisCaFile: file("REDIS_CA_FILE").help("certificates (PEM) of the authority that signed Redis's, with rediss://"),
    redisShards: integer("REDIS_SHARDS", DEFAULT_SHARDS, [1, SHARDS_MAX]).help(
      "parts that the data in Redis is divided into; fixed at the first start",
    ),
    redisWaitReplicas: integer("REDIS_WAIT_REPLICAS", 0, [0, 10]).help(
      "replicas of Redis that must have events before they are acknowledged; events are refused while there are fewer",
    ),
    isDurabilityStrict: flag("STRICT_DURABILITY").help(
      "1 refuses to start on a Redis or MySQL that may lose acknowledged events",
    ),
    mysqlUrl: url("MYSQL_URL", MYSQL, problemInMysqlUrl).help("cold store; needs REDIS_URL too"),
    mysqlReadUrl: url("MYSQL_READ_URL", MYSQL, problemInMysqlUrl).help(
      "a replica of MYSQL_URL, or a balancer of several: ranges and exports are read there unless it lags",
    ),
    isMysqlTls: flag("MYSQL_TLS").help("1 connects to MySQL by TLS only"),
    mysqlCaFile: file("MYSQL_CA_FILE").help(
      "certificates (PEM) of the authority that signed MySQL's, if it is not a public one",
    ),
    isMysqlTlsForAnyHost: flag("MYSQL_TLS_ANY_HOST").help(
      "1 accepts a certificate for another host name, if MYSQL_CA_FILE's authority signed it",
    ),
  },
  "Retention and limits": {
    hotHours: integer("HOT_HOURS", 24, [1, 8_760]).help(
      "hours, with the current one, that are counted in Redis or memory; older ones are read from MySQL or SQLite",
    ),
    retentionDays: days("RETENTION_DAYS").help(
      "whole days (UTC) before today whose rows are retained; older rows are deleted, and older events refused",
    ),
    aggregateRetentionDays: days("AGGREGATE_RETENTION_DAYS").help(
      "the same for hourly counts and sketches; at least RETENTION_DAYS, which must be set too",
    ),
    maxStreams: integer("MAX_STREAMS", 100_000, [1, 1_000_000]).help(
      "maximum number of streams; an event of a further one is refused with 422",
    ),
    flushIntervalMs: integer("FLUSH_INTERVAL_MS", 1_000, [10, 60_000]).help(
      "longest wait before events are flushed to the cold store",
    ),
    flushMaxEvents: integer("FLUSH_MAX_EVENTS", 10_000, [1, 100_000]).help(
      "events in one transaction of the cold store",
    ),
    ringCapacityEvents: integer("RING_CAPACITY", 100_000, [1, 10_000_000]).help(
      "unflushed events in memory (20 bytes each, plus user and id); further ones stay in the journal alone",
    ),
    journalMaxEvents: integer("JOURNAL_MAX_EVENTS", 50_000_000, [1, 10_000_000_000]).help(
      "unflushed events of one process (about 50 bytes each in Redis or on disk); beyond that, new ones are refused " +
        "with 503",
    ),
    leaseMs: integer("LEASE_MS", 10_000, [100, 600_000]).help(
      "lease of an instance: without a sign of life from it, others adopt its journal within twice this time",
    ),
    commitIntervalUs: integer("COMMIT_INTERVAL_US", 1_700, [0, 100_000]).help(
      "how far apart commits to the hot store start under load, in microseconds; 0: each as soon as the one before " +
        "has ended",
    ),
    outcomeTimeoutMs: integer("OUTCOME_TIMEOUT_MS", 10_000, [1_000, 120_000]).help(
      "how long an event waits for an answer of the hot store, before its outcome is called unknown (504)",
    ),
  },
  Access: {
    requiredScopes: list("REQUIRE_KEYS", `some of ${SCOPES.join(", ")}`, (entry) =>
      SCOPES.find((scope) => scope === entry),
    ).help(
      "requires API keys (hourglass keys) for some of: write (send events), read (counts), admin (ledger, metrics)",
    ),
    addressLimit: {
      name: "ADDRESS_LIMIT",
      fallback: undefined,
      help: "maximum of events and reads from one address, such as 100/s",
      takes: EXPECTS_RATE,
      parse: rateLimitOf,
    } satisfies OffUnlessSet<RateLimit>,
    apiKey: {
      ...secret("API_KEY").help(
        "key for the commands 'import', 'bench', 'poison replay' (scope write) and 'forget' (admin)",
      ),
      takes: EXPECTS_TOKEN,
      parse: (value: string) => (isToken(value) ? value : undefined),
    },
  },
  Browsers: {
    browserStreams: {
      ...list("BROWSER_STREAMS", EXPECTS_STREAM_GRANT, (entry) => (isStreamGrant(entry) ? entry : undefined)).help(
        "streams that /pixel.gif, /beacon and /r count in without a key",
      ),
      unset: "all; none if REQUIRE_KEYS has write",
    },
    corsOrigins: origins("CORS_ORIGINS", true).help("origins whose pages may read answers and send more than beacons"),
    isDntRespected: flag("RESPECT_DNT").help("1 does not count browsers that send DNT: 1 or Sec-GPC: 1"),
    isBotFiltered: flag("BOT_FILTER").help("1 does not count clients whose User-Agent is a known bot's"),
    redirectOrigins: origins("REDIRECT_ORIGINS").help("where /r may lead without a signature"),
    redirectSecret: secret("REDIRECT_SECRET").help(
      "secret (16 or more characters) that signs the targets of /r (hourglass sign-redirect)",
    ),
    userSalt: secret("USER_SALT").help(
      "secret (16 or more characters), the same on all instances: a visitor without a user then counts once a day on " +
        "all of them; if not set, once on each, and again after a restart",
    ),
  },
  "Events from a broker": {
    brokerUrl: place("BROKER_URL", EXPECTS_BROKER_URL, brokerPlaceOf, problemInBrokerUrl).help(
      `broker (${Object.values(BROKER_NAMES).join(", ")}) to consume events from; needs BROKER_QUEUE too`,
    ),
    brokerQueue: {
      ...offUnlessSet(
        text("BROKER_QUEUE", "").help("queue or topic to consume, which has to exist; needs BROKER_URL too"),
      ),
      takes: `a name of 1 to ${QUEUE_NAME_MAX_BYTES} bytes`,
      parse: (value: string) => (Buffer.byteLength(value) <= QUEUE_NAME_MAX_BYTES ? value : undefined),
    },
    brokerGroup: text("BROKER_GROUP", "hourglass").help("consumer group (Kafka): its members share the topic"),
    brokerPrefetch: integer(
      "BROKER_PREFETCH",
      {
        text: `${PREFETCH}, with Kafka ${KAFKA_PREFETCH}`,
        valueIn: ({ BROKER_URL: url }) => String(isKafkaUrl(url ?? "") ? KAFKA_PREFETCH : PREFETCH),
      },
      [1, 10_000],
    ).help("maximum of messages in flight, all held in memory; with Kafka, 16 MiB is a limit, too"),
    brokerCaFile: file("BROKER_CA_FILE").help(
      "certificates (PEM) of the authority that signed the broker's, if it is not a public one",
    ),
  },
};

type Groups = typeof SETTING_GROUPS;
type Merged<T> = (T extends unknown ? (group: T) => void : never) extends (group: infer All) => void ? All : never;
type Settings = Merged<Groups[keyof Groups]>;
type ValueOf<S> = S extends WithDefault<infer T> ? T : S extends Setting<infer T> ? T | undefined : never;

export type Config = { readonly [Field in keyof Settings]: ValueOf<Settings[Field]> };

export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/**
 * The settings: read once from the environment, checked, frozen.
 * Invariant: a Config holds only values that the service can run with. Every bad one is refused at start,
 * all at once, each with its name, what was found and what it takes.
 */
import { EXPECTS_TOKEN, isToken, SCOPES, type Scope } from "../domain/api-key.ts";
import { EXPECTS_RATE, type RateLimit, rateLimitOf } from "../domain/rate-limit.ts";
import { SHARDS_MAX } from "../domain/shard-of.ts";
import { EXPECTS_STREAMS, isStreamPattern } from "../domain/stream-set.ts";
import { EXPECTS_REDIS_URL, redisPlaceOf } from "./redis-url.ts";

export interface Config {
  readonly port: number;
  readonly host: string;
  readonly dataDir: string;
  readonly redisUrl: string | undefined;
  readonly redisShards: number;
  readonly redisWaitReplicas: number;
  readonly mysqlUrl: string | undefined;
  readonly mysqlReadUrl: string | undefined;
  readonly isDurabilityStrict: boolean;
  readonly workers: number;
  readonly flushIntervalMs: number;
  readonly flushMaxEvents: number;
  readonly ringCapacityEvents: number;
  readonly journalMaxEvents: number;
  readonly hotHours: number;
  readonly retentionDays: number | undefined;
  readonly aggregateRetentionDays: number | undefined;
  readonly maxStreams: number;
  readonly leaseMs: number;
  readonly drainMs: number;
  readonly logLevel: string;
  readonly isEachRequestLogged: boolean;
  readonly corsOrigins: readonly string[] | undefined;
  readonly isDntRespected: boolean;
  readonly isBotFiltered: boolean;
  readonly redirectOrigins: readonly string[] | undefined;
  readonly redirectSecret: string | undefined;
  readonly userSalt: string | undefined;
  readonly trustedProxies: number;
  readonly requiredScopes: readonly Scope[] | undefined;
  readonly addressLimit: RateLimit | undefined;
  readonly browserStreams: readonly string[] | undefined;
  readonly apiKey: string | undefined;
  readonly tlsCertFile: string | undefined;
  readonly tlsKeyFile: string | undefined;
  readonly redisCaFile: string | undefined;
  readonly isMysqlTls: boolean;
  readonly mysqlCaFile: string | undefined;
  readonly amqpUrl: string | undefined;
  readonly amqpQueue: string | undefined;
  readonly amqpPrefetch: number;
}

export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

interface Setting<T> {
  readonly name: string;
  /** As it would be written in the environment; undefined if it is off unless set. */
  readonly fallback: string | undefined;
  readonly help: string;
  /** What a value has to be, for the error message. */
  readonly takes: string;
  /** Undefined if it is not that. */
  parse(text: string): T | undefined;
  /** The value must not be shown: it may hold a password. */
  readonly isSecret?: boolean;
}

function integer(name: string, fallback: number, min: number, max: number, help: string): Setting<number> {
  return {
    name,
    fallback: String(fallback),
    help,
    takes: `an integer from ${min} to ${max}`,
    parse(text) {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      return value >= min && value <= max ? value : undefined;
    },
  };
}

/** Off unless set. */
function days(name: string, help: string): Setting<number> {
  return { ...integer(name, 1, 1, 36_500, help), fallback: undefined };
}

function oneOf(name: string, fallback: string, values: readonly string[], help: string): Setting<string> {
  return {
    name,
    fallback,
    help,
    takes: `one of ${values.join(", ")}`,
    parse: (text) => (values.includes(text) ? text : undefined),
  };
}

function text(name: string, fallback: string, help: string): Setting<string> {
  return { name, fallback, help, takes: "a text that is not empty", parse: (value) => value || undefined };
}

function url(name: string, protocols: readonly string[], example: string, help: string): Setting<string> {
  return {
    name,
    fallback: undefined,
    help,
    takes: `a URL such as ${example}`,
    isSecret: true,
    parse(value) {
      const parsed = URL.parse(value);
      const isWhole = parsed !== null && parsed.hostname !== "" && protocols.includes(parsed.protocol);
      return isWhole ? value : undefined;
    },
  };
}

function flag(name: string, help: string): Setting<boolean> {
  return {
    name,
    fallback: "0",
    help,
    takes: "one of 0, 1",
    parse: (value) => (value === "1" ? true : value === "0" ? false : undefined),
  };
}

const SECRET_MIN_CHARS = 16;

/** Off unless set. */
function secret(name: string, help: string): Setting<string> {
  return {
    name,
    fallback: undefined,
    help,
    takes: `a text of ${SECRET_MIN_CHARS} or more characters`,
    isSecret: true,
    parse: (value) => (value.length >= SECRET_MIN_CHARS ? value : undefined),
  };
}

/** A list, off unless set. Each entry is taken in the form that browsers send: no path, no standard port. */
function origins(name: string, help: string, isAnyTaken: boolean): Setting<readonly string[]> {
  return {
    name,
    fallback: undefined,
    help,
    takes: `origins with commas between, such as https://example.com${isAnyTaken ? ", or * for all" : ""}`,
    parse(value) {
      if (isAnyTaken && value === "*") return ["*"];
      const parsed = value.split(",").map((entry) => originOf(entry.trim()));
      return parsed.includes(undefined) ? undefined : (parsed as string[]);
    },
  };
}

function originOf(text: string): string | undefined {
  const { origin = "", href } = URL.parse(text) ?? {};
  // A star would be a part of the name like any other, and stand for nothing.
  return href === `${origin}/` && /^https?:[^*]+$/.test(origin) ? origin : undefined;
}

/** A list, off unless set. */
function list<T extends string>(
  name: string,
  takes: string,
  isTaken: (entry: string) => entry is T,
  help: string,
): Setting<readonly T[]> {
  return {
    name,
    fallback: undefined,
    help,
    takes,
    parse(value) {
      const entries = value.split(",").map((entry) => entry.trim());
      return entries.every(isTaken) ? (entries as T[]) : undefined;
    },
  };
}

function file(name: string, help: string): Setting<string> {
  return { ...text(name, "", help), fallback: undefined, takes: "the path of a file" };
}

function isScope(text: string): text is Scope {
  return (SCOPES as readonly string[]).includes(text);
}

const QUEUE_NAME_MAX_BYTES = 255;
/** So that each of two or three masters has some, where Redis has spread the slots evenly: 2 and 4, or 1, 3 and 2. */
const CLUSTER_SHARDS = 6;

const REDIS_URL: Setting<string> = {
  name: "REDIS_URL",
  fallback: undefined,
  help: "hot store, one server, cluster or Sentinels; needs MYSQL_URL too; embedded if neither is set",
  takes: EXPECTS_REDIS_URL,
  isSecret: true,
  parse: (value) => (redisPlaceOf(value) === undefined ? undefined : value),
};

const MYSQL_EXAMPLE = "mysql://user:password@host:3306/hourglass";

function mysqlUrl(name: string, help: string): Setting<string> {
  return {
    ...url(name, ["mysql:"], MYSQL_EXAMPLE, help),
    parse(value) {
      const parsed = URL.parse(value);
      const isWhole = parsed?.protocol === "mysql:" && parsed.hostname !== "" && parsed.pathname.length > 1;
      return isWhole ? value : undefined;
    },
  };
}

const SETTINGS = {
  port: integer("PORT", 7777, 0, 65_535, "port to listen on; 0 takes a free one"),
  host: text("HOST", "127.0.0.1", "address to listen on; 0.0.0.0 for all of the machine's"),
  dataDir: text("DATA_DIR", "./data", "folder of the embedded stores"),
  redisUrl: REDIS_URL,
  redisShards: {
    ...integer("REDIS_SHARDS", 1, 1, SHARDS_MAX, ""),
    fallback: undefined,
    help: `parts that the data in Redis is divided into, for good; if not set ${CLUSTER_SHARDS} in a cluster, else 1`,
  },
  redisWaitReplicas: integer(
    "REDIS_WAIT_REPLICAS",
    0,
    0,
    10,
    "replicas of Redis that must have events before they are acknowledged; refused while there are fewer",
  ),
  mysqlUrl: mysqlUrl("MYSQL_URL", "cold store; needs REDIS_URL too"),
  mysqlReadUrl: mysqlUrl(
    "MYSQL_READ_URL",
    "a replica of it, or an address of several, which ranges and exports are read from while it is not behind",
  ),
  isDurabilityStrict: flag(
    "STRICT_DURABILITY",
    "1 refuses to start on a Redis that may forget what it acknowledged",
  ),
  workers: integer("WORKERS", 1, 1, 64, "processes on one port (SO_REUSEPORT); needs REDIS_URL"),
  flushIntervalMs: integer(
    "FLUSH_INTERVAL_MS",
    1_000,
    10,
    60_000,
    "longest wait before events go to the cold store",
  ),
  flushMaxEvents: integer(
    "FLUSH_MAX_EVENTS",
    10_000,
    1,
    100_000,
    "events in one transaction of the cold store",
  ),
  ringCapacityEvents: integer(
    "RING_CAPACITY",
    100_000,
    1,
    10_000_000,
    "unflushed events kept in memory (20 bytes each, its user and its id); more stay in the journal alone",
  ),
  journalMaxEvents: integer(
    "JOURNAL_MAX_EVENTS",
    50_000_000,
    1,
    10_000_000_000,
    "unflushed events in a journal (about 50 bytes each), over which new ones are answered with 503",
  ),
  hotHours: integer("HOT_HOURS", 24, 1, 8_760, "hours kept in the hot store"),
  retentionDays: days(
    "RETENTION_DAYS",
    "whole days (UTC) before today whose rows are kept; older rows are dropped, older events refused; all if not set",
  ),
  aggregateRetentionDays: days(
    "AGGREGATE_RETENTION_DAYS",
    "the same for the hours' counts and sketches; at least RETENTION_DAYS",
  ),
  maxStreams: integer(
    "MAX_STREAMS",
    100_000,
    1,
    1_000_000,
    "streams that there may be; events of a new one above it are answered with 422",
  ),
  leaseMs: integer(
    "LEASE_MS",
    10_000,
    100,
    600_000,
    "an instance silent for so long is taken for dead, and others adopt its journal",
  ),
  drainMs: integer(
    "DRAIN_MS",
    0,
    0,
    60_000,
    "how long it still takes events when told to end, and /readyz says that it ends, so that balancers turn away",
  ),
  logLevel: oneOf(
    "LOG_LEVEL",
    "info",
    ["debug", "info", "warn", "error", "silent"],
    "lowest level that is logged",
  ),
  isEachRequestLogged: flag("LOG_REQUESTS", "1 logs a line for each request"),
  corsOrigins: origins("CORS_ORIGINS", "whose pages may read answers, and send more than beacons", true),
  isDntRespected: flag("RESPECT_DNT", "1 counts no browser that sends DNT: 1 or Sec-GPC: 1"),
  isBotFiltered: flag("BOT_FILTER", "1 counts no browser that says that it is a bot"),
  redirectOrigins: origins("REDIRECT_ORIGINS", "where /r leads without a signature", false),
  redirectSecret: secret("REDIRECT_SECRET", "signs the targets of /r (hourglass sign-redirect)"),
  userSalt: secret(
    "USER_SALT",
    "the same on all instances, so that a user without an id is the same user to each of them",
  ),
  trustedProxies: integer(
    "TRUST_PROXY",
    0,
    0,
    10,
    "proxies in front, each of which adds to X-Forwarded-For: how many entries of it to believe",
  ),
  requiredScopes: list(
    "REQUIRE_KEYS",
    `some of ${SCOPES.join(", ")}, with commas between`,
    isScope,
    "what takes an API key (hourglass keys): to count, to read counts, to read ledger and metrics",
  ),
  addressLimit: {
    name: "ADDRESS_LIMIT",
    fallback: undefined,
    help: "how many events and reads to take from one address, such as 100/s",
    takes: EXPECTS_RATE,
    parse: rateLimitOf,
  } satisfies Setting<RateLimit>,
  browserStreams: list(
    "BROWSER_STREAMS",
    `${EXPECTS_STREAMS}, with commas between`,
    (entry): entry is string => isStreamPattern(entry),
    "streams that /pixel.gif, /beacon and /r count in, which take no key (all; none if REQUIRE_KEYS has write)",
  ),
  apiKey: {
    ...secret(
      "API_KEY",
      "the key that 'import', 'bench' and 'poison replay' (scope write) and 'forget' (admin) show to the service",
    ),
    takes: EXPECTS_TOKEN,
    parse: (value: string) => (isToken(value) ? value : undefined),
  },
  tlsCertFile: file("TLS_CERT_FILE", "certificate (PEM, with those that lead to its root): HTTPS only then"),
  tlsKeyFile: file("TLS_KEY_FILE", "its private key (PEM)"),
  redisCaFile: file("REDIS_CA_FILE", "certificates (PEM) that Redis' is signed by, with rediss://"),
  isMysqlTls: flag("MYSQL_TLS", "1 talks to MySQL by TLS alone"),
  mysqlCaFile: file(
    "MYSQL_CA_FILE",
    "certificates (PEM) that MySQL's is signed by, if not one that is known to all",
  ),
  amqpUrl: url(
    "AMQP_URL",
    ["amqp:", "amqps:"],
    "amqp://user:password@host:5672/vhost",
    "a RabbitMQ that events are taken from as well; needs AMQP_QUEUE too",
  ),
  amqpQueue: {
    ...text("AMQP_QUEUE", "", "that queue, which has to exist; needs AMQP_URL too"),
    fallback: undefined,
    takes: "a name of 1 to 255 bytes",
    parse: (value) => (Buffer.byteLength(value) <= QUEUE_NAME_MAX_BYTES ? value : undefined),
  },
  amqpPrefetch: integer(
    "AMQP_PREFETCH",
    1_000,
    1,
    10_000,
    "messages that may be under way; so many are in memory, whatever their size",
  ),
} satisfies Record<string, Setting<unknown>>;

type Environment = Readonly<Record<string, string | undefined>>;

/** Throws ConfigError, with a line for each bad value. An empty value is taken for one that is not set. */
export function readConfig(environment: Environment): Config {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [field, setting] of Object.entries<Setting<unknown>>(SETTINGS)) {
    const found = environment[setting.name] || setting.fallback;
    values[field] = found === undefined ? undefined : setting.parse(found);
    if (found !== undefined && values[field] === undefined) problems.push(problem(setting, found));
  }
  values["redisShards"] ??= defaultShards(values["redisUrl"] as string | undefined);
  if (problems.length === 0) problems.push(...contradictions(values as unknown as Config));
  if (problems.length > 0) throw new ConfigError(problems.join("\n"));
  return Object.freeze(values) as unknown as Config;
}

/** A cluster is of no use to a single shard, which lies on one of its masters. */
function defaultShards(redisUrl: string | undefined): number {
  return redisUrl !== undefined && redisPlaceOf(redisUrl)?.kind === "cluster" ? CLUSTER_SHARDS : 1;
}

function problem(setting: Setting<unknown>, found: string): string {
  const shown = setting.isSecret ? "something else (not shown, as it may hold a password)" : `'${found}'`;
  return `${setting.name} takes ${setting.takes}, but is ${shown}`;
}

/**
 * Redis alone would leave the events of several instances in files that only one of them can read, and MySQL
 * alone would leave the counts of each instance in its own memory: no read would be sure to see every event.
 */
function contradictions(config: Config): string[] {
  const { redisUrl, redisShards, redisWaitReplicas, mysqlUrl, mysqlReadUrl } = config;
  const { workers, port, amqpUrl, amqpQueue } = config;
  if ((amqpUrl === undefined) !== (amqpQueue === undefined)) {
    const [set, missing] = amqpUrl ? ["AMQP_URL", "AMQP_QUEUE"] : ["AMQP_QUEUE", "AMQP_URL"];
    return [`${set} is set, but ${missing} is not: set both, or neither to take events over HTTP alone`];
  }
  if ((redisUrl === undefined) !== (mysqlUrl === undefined)) {
    const [set, missing] = redisUrl ? ["REDIS_URL", "MYSQL_URL"] : ["MYSQL_URL", "REDIS_URL"];
    return [`${set} is set, but ${missing} is not: set both, or neither for the embedded stores`];
  }
  const problems = [...encryptionContradictions(config), ...retentionContradictions(config)];
  if (redisUrl === undefined && redisShards > 1)
    problems.push(
      `REDIS_SHARDS is ${redisShards}, but the embedded stores are one: set REDIS_URL and MYSQL_URL too`,
    );
  if (mysqlReadUrl !== undefined && mysqlUrl === undefined)
    problems.push("MYSQL_READ_URL is set, but MYSQL_URL is not: set that to what it is a replica of");
  if (redisUrl === undefined && redisWaitReplicas > 0)
    problems.push(`REDIS_WAIT_REPLICAS is ${redisWaitReplicas}, but REDIS_URL is not set: there are none`);
  if (workers === 1 || problems.length > 0) return problems;
  if (redisUrl === undefined)
    return [
      `WORKERS is ${workers}, but the embedded stores are for one process: set REDIS_URL and MYSQL_URL`,
    ];
  return port === 0 ? [`WORKERS is ${workers}, but PORT is 0: each would take a port of its own`] : [];
}

/** What is meant to be encrypted must not go in the clear without a word. */
function encryptionContradictions(config: Config): string[] {
  const { tlsCertFile, tlsKeyFile, redisUrl, redisCaFile, isMysqlTls, mysqlCaFile } = config;
  const problems: string[] = [];
  if ((tlsCertFile === undefined) !== (tlsKeyFile === undefined)) {
    const [set, missing] = tlsCertFile
      ? ["TLS_CERT_FILE", "TLS_KEY_FILE"]
      : ["TLS_KEY_FILE", "TLS_CERT_FILE"];
    problems.push(`${set} is set, but ${missing} is not: set both for HTTPS, or neither`);
  }
  if (redisCaFile !== undefined && !/^rediss[:+]/.test(redisUrl ?? ""))
    problems.push(
      "REDIS_CA_FILE is set, but REDIS_URL does not begin with rediss:// or rediss+sentinel://: it would not be used",
    );
  if (mysqlCaFile !== undefined && !isMysqlTls)
    problems.push("MYSQL_CA_FILE is set, but MYSQL_TLS is not 1: it would not be used");
  return problems;
}

/** Rows without their hour's aggregate would be events that no count shows. */
function retentionContradictions({ retentionDays, aggregateRetentionDays }: Config): string[] {
  if (aggregateRetentionDays === undefined) return [];
  const name = `AGGREGATE_RETENTION_DAYS is ${aggregateRetentionDays}`;
  if (retentionDays === undefined)
    return [`${name}, but RETENTION_DAYS is not set: rows are kept no longer than counts`];
  if (aggregateRetentionDays >= retentionDays) return [];
  return [`${name}, but RETENTION_DAYS is ${retentionDays}: rows are kept no longer than counts`];
}

/** A line for each setting, for `--help`. */
export function settingsHelp(): string {
  const rows = Object.values<Setting<unknown>>(SETTINGS).map((setting) => {
    const fallback = setting.fallback === undefined ? "not set" : setting.fallback;
    return { name: setting.name, text: `${setting.help} (${fallback})` };
  });
  const width = Math.max(...rows.map(({ name }) => name.length));
  return rows.map(({ name, text: line }) => `  ${name.padEnd(width)}  ${line}`).join("\n");
}

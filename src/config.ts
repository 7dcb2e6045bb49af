/**
 * The settings: read once from the environment, checked, frozen.
 * Invariant: a Config holds only values that the service can run with. Every bad one is refused at start,
 * all at once, each with its name, what was found and what it takes.
 */
export interface Config {
  readonly port: number;
  readonly host: string;
  readonly dataDir: string;
  readonly redisUrl: string | undefined;
  readonly mysqlUrl: string | undefined;
  readonly isDurabilityStrict: boolean;
  readonly workers: number;
  readonly flushIntervalMs: number;
  readonly flushMaxEvents: number;
  readonly ringCapacityEvents: number;
  readonly journalMaxEvents: number;
  readonly hotHours: number;
  readonly maxStreams: number;
  readonly leaseMs: number;
  readonly logLevel: string;
  readonly corsOrigins: readonly string[] | undefined;
  readonly isDntRespected: boolean;
  readonly isBotFiltered: boolean;
  readonly redirectOrigins: readonly string[] | undefined;
  readonly redirectSecret: string | undefined;
  readonly userSalt: string | undefined;
  readonly trustedProxies: number;
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

const REDIS_OVER_TCP = url(
  "REDIS_URL",
  ["redis:", "rediss:"],
  "redis://host:6379 or unix:///run/redis.sock",
  "hot store; needs MYSQL_URL too; embedded if neither is set",
);

const REDIS_URL: Setting<string> = {
  ...REDIS_OVER_TCP,
  parse(value) {
    const { protocol, host, pathname } = URL.parse(value) ?? {};
    if (protocol !== "unix:") return REDIS_OVER_TCP.parse(value);
    return host === "" && pathname!.length > 1 ? value : undefined;
  },
};

const MYSQL_EXAMPLE = "mysql://user:password@host:3306/hourglass";

const SETTINGS = {
  port: integer("PORT", 7777, 0, 65_535, "port to listen on; 0 takes a free one"),
  host: text("HOST", "127.0.0.1", "address to listen on; 0.0.0.0 for all of the machine's"),
  dataDir: text("DATA_DIR", "./data", "folder of the embedded stores"),
  redisUrl: REDIS_URL,
  mysqlUrl: {
    ...url("MYSQL_URL", ["mysql:"], MYSQL_EXAMPLE, "cold store; needs REDIS_URL too"),
    parse(value: string) {
      const parsed = URL.parse(value);
      const isWhole = parsed?.protocol === "mysql:" && parsed.hostname !== "" && parsed.pathname.length > 1;
      return isWhole ? value : undefined;
    },
  },
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
    "unflushed events kept in memory (about 150 bytes each); more stay in the journal alone",
  ),
  journalMaxEvents: integer(
    "JOURNAL_MAX_EVENTS",
    50_000_000,
    1,
    10_000_000_000,
    "unflushed events in a journal (about 50 bytes each), over which new ones are answered with 503",
  ),
  hotHours: integer("HOT_HOURS", 24, 1, 8_760, "hours kept in the hot store"),
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
  logLevel: oneOf(
    "LOG_LEVEL",
    "info",
    ["debug", "info", "warn", "error", "silent"],
    "lowest level that is logged",
  ),
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
  if (problems.length === 0) problems.push(...contradictions(values as unknown as Config));
  if (problems.length > 0) throw new ConfigError(problems.join("\n"));
  return Object.freeze(values) as unknown as Config;
}

function problem(setting: Setting<unknown>, found: string): string {
  const shown = setting.isSecret ? "something else (not shown, as it may hold a password)" : `'${found}'`;
  return `${setting.name} takes ${setting.takes}, but is ${shown}`;
}

/**
 * Redis alone would leave the events of several instances in files that only one of them can read, and MySQL
 * alone would leave the counts of each instance in its own memory: no read would be sure to see every event.
 */
function contradictions({ redisUrl, mysqlUrl, workers, port }: Config): string[] {
  if ((redisUrl === undefined) !== (mysqlUrl === undefined)) {
    const [set, missing] = redisUrl ? ["REDIS_URL", "MYSQL_URL"] : ["MYSQL_URL", "REDIS_URL"];
    return [`${set} is set, but ${missing} is not: set both, or neither for the embedded stores`];
  }
  if (workers === 1) return [];
  if (redisUrl === undefined)
    return [
      `WORKERS is ${workers}, but the embedded stores are for one process: set REDIS_URL and MYSQL_URL`,
    ];
  return port === 0 ? [`WORKERS is ${workers}, but PORT is 0: each would take a port of its own`] : [];
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

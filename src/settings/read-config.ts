/**
 * Reads the settings from the environment, once.
 * Invariant: a Config is frozen and holds only values that the service can run with. At start all bad values are
 * refused together, each with its name, what was found and what is expected.
 */
import { isKafkaUrl } from "./broker-url.ts";
import type { Environment, Setting } from "./setting-kinds.ts";
import { type Config, ConfigError, SETTING_GROUPS } from "./settings.ts";

/** Throws ConfigError with one line per bad value. An empty value counts as unset. */
export function readConfig(environment: Environment): Config {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [field, setting] of allSettings()) {
    const { fallback } = setting;
    const found =
      environment[setting.name] || (typeof fallback === "object" ? fallback.valueIn(environment) : fallback);
    values[field] = found === undefined ? undefined : setting.parse(found);
    if (found !== undefined && values[field] === undefined) problems.push(refusal(setting, found));
  }
  if (problems.length === 0) {
    const config = values as unknown as Config;
    problems.push(...contradictions(config), ...ignoredOfBroker(config, environment));
  }
  if (problems.length > 0) throw new ConfigError(problems.join("\n"));
  return Object.freeze(values) as unknown as Config;
}

function allSettings(): [string, Setting<unknown>][] {
  return Object.values(SETTING_GROUPS).flatMap((group) => Object.entries<Setting<unknown>>(group));
}

export function settingNamed(name: string): Setting<unknown> | undefined {
  return allSettings().find(([, setting]) => setting.name === name)?.[1];
}

function refusal({ name, takes, isSecret, problem }: Setting<unknown>, found: string): string {
  const shown = isSecret ? "something else (not shown, as it may hold a password)" : `'${found}'`;
  const detail = problem?.(found);
  return `${name} must be ${takes}, but is ${shown}${detail === undefined ? "" : `: ${detail}`}`;
}

/**
 * Redis alone would leave each instance's rows in a file that only it can read; MySQL alone would leave each instance's
 * counts in its own memory. Either way, reads would miss events.
 */
function contradictions(config: Config): string[] {
  const { redisUrl, redisShards, redisWaitReplicas, mysqlUrl, mysqlReadUrl } = config;
  const { workers, port, brokerUrl, brokerQueue, tlsCertFile, tlsKeyFile } = config;
  const isUnpaired =
    unpaired({ BROKER_URL: brokerUrl, BROKER_QUEUE: brokerQueue }, "neither to take events over HTTP alone") ??
    unpaired({ REDIS_URL: redisUrl, MYSQL_URL: mysqlUrl }, "neither for the embedded stores");
  if (isUnpaired !== undefined) return [isUnpaired];
  const noTls = unpaired({ TLS_CERT_FILE: tlsCertFile, TLS_KEY_FILE: tlsKeyFile }, "neither for plain HTTP");
  const problems = [
    ...(noTls === undefined ? [] : [noTls]),
    ...encryptionContradictions(config),
    ...retentionContradictions(config),
  ];
  if (mysqlReadUrl !== undefined && mysqlUrl === undefined)
    problems.push("MYSQL_READ_URL is set, but MYSQL_URL is not: set it to the server that is replicated");
  if (redisUrl !== undefined) {
    if (workers > 1 && port === 0)
      problems.push(`WORKERS is ${workers}, but PORT is 0: each worker would get a port of its own`);
    return problems;
  }
  if (redisShards > 1)
    problems.push(
      `REDIS_SHARDS is ${redisShards}, but the embedded stores have no shards: set REDIS_URL and MYSQL_URL too`,
    );
  if (redisWaitReplicas > 0)
    problems.push(
      `REDIS_WAIT_REPLICAS is ${redisWaitReplicas}, but REDIS_URL is not set: the embedded stores have no replicas`,
    );
  if (workers > 1)
    problems.push(`WORKERS is ${workers}, but the embedded stores serve one process: set REDIS_URL and MYSQL_URL`);
  return problems;
}

function unpaired(pair: Readonly<Record<string, string | undefined>>, neither: string): string | undefined {
  const names = Object.keys(pair);
  const missing = names.find((name) => pair[name] === undefined);
  const set = names.find((name) => pair[name] !== undefined);
  if (missing === undefined || set === undefined) return undefined;
  return `${set} is set, but ${missing} is not: set both, or ${neither}`;
}

/** The environment tells whether a setting that has a default is set. */
function ignoredOfBroker({ brokerUrl }: Config, environment: Environment): string[] {
  const needed = brokerUrl === undefined ? ["BROKER_GROUP", "BROKER_PREFETCH"] : [];
  const problems = needed
    .filter((name) => environment[name])
    .map((name) => `${name} is set, but BROKER_URL is not, so it is ignored: unset it`);
  if (environment["BROKER_GROUP"] && brokerUrl !== undefined && !isKafkaUrl(brokerUrl))
    problems.push("BROKER_GROUP is set, but BROKER_URL does not begin with kafka:// or kafkas://, so it is ignored");
  return problems;
}

/** Encryption settings are never ignored silently. */
function encryptionContradictions(config: Config): string[] {
  const { redisUrl, redisCaFile, mysqlUrl, isMysqlTls, mysqlCaFile, isMysqlTlsForAnyHost } = config;
  const { brokerUrl, brokerCaFile } = config;
  const problems: string[] = [];
  if (isMysqlTls && mysqlUrl === undefined) problems.push("MYSQL_TLS is 1, but MYSQL_URL is not set, so it is ignored");
  if (isMysqlTlsForAnyHost && mysqlCaFile === undefined)
    problems.push("MYSQL_TLS_ANY_HOST is 1, but MYSQL_CA_FILE is not set: anyone's certificate would be accepted");
  if (redisCaFile !== undefined && !/^rediss[:+]/.test(redisUrl ?? ""))
    problems.push(
      "REDIS_CA_FILE is set, but REDIS_URL does not begin with rediss:// or rediss+sentinel://, so it is ignored",
    );
  if (brokerCaFile !== undefined && !/^\w+s:/.test(brokerUrl ?? ""))
    problems.push(
      "BROKER_CA_FILE is set, but BROKER_URL does not begin with amqps://, kafkas:// or amqp10s://, so it is ignored",
    );
  if (mysqlCaFile !== undefined && !isMysqlTls)
    problems.push("MYSQL_CA_FILE is set, but MYSQL_TLS is not 1, so it is ignored");
  return problems;
}

/** Rows that outlive their aggregate would be events that no count includes. */
function retentionContradictions({ retentionDays, aggregateRetentionDays }: Config): string[] {
  if (aggregateRetentionDays === undefined) return [];
  const name = `AGGREGATE_RETENTION_DAYS is ${aggregateRetentionDays}`;
  if (retentionDays === undefined)
    return [`${name}, but RETENTION_DAYS is not set: rows must not be retained longer than counts`];
  if (aggregateRetentionDays >= retentionDays) return [];
  return [`${name}, but RETENTION_DAYS is ${retentionDays}: rows must not be retained longer than counts`];
}

/** All settings, by group. `item` lays out a name, padded to `width` characters, and its description. */
export function settingsHelp(item: (name: string, width: number, description: string) => string): string {
  const width = Math.max(...allSettings().map(([, { name }]) => name.length));
  const groups = Object.entries(SETTING_GROUPS).map(([title, group]) => {
    const items = Object.values<Setting<unknown>>(group).map(({ name, help, fallback, range, unset = "not set" }) => {
      const shown = typeof fallback === "object" ? fallback.text : (fallback ?? unset);
      return item(name, width, `${help} (${range === undefined ? shown : `${shown}; ${range}`})`);
    });
    return [`${title}:`, ...items].join("\n");
  });
  return groups.join("\n\n");
}

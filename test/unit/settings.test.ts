/**
 * Settings: each bad value is refused at start with its name, what was found and what is expected. What may be a
 * password is never shown, in a refusal or anywhere else.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brokerPlaceOf, describeBrokerPlace } from "../../src/settings/broker-url.ts";
import { readConfig } from "../../src/settings/read-config.ts";
import { describeRedisPlace, type RedisPlace, redisPlaceOf } from "../../src/settings/redis-url.ts";
import { ConfigError } from "../../src/settings/settings.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { freePort } from "../harness/servers/ports.ts";
import { eventTarget, hourTarget } from "../harness/service/analytics-client.ts";
import { ask } from "../harness/service/http-connection.ts";
import { type Service, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const PROCESS_TIMEOUT_MS = 180_000;
const REDIS_URL = "redis://127.0.0.1:6379";
const MYSQL_URL = "mysql://root@127.0.0.1:3306/hourglass";
const PASSWORD = "hunter2";

/** Settings that take an integer, with the bounds they take. */
const INTEGERS: Readonly<Record<string, readonly [number, number]>> = {
  PORT: [0, 65_535],
  REDIS_WAIT_REPLICAS: [0, 10],
  FLUSH_INTERVAL_MS: [10, 60_000],
  FLUSH_MAX_EVENTS: [1, 100_000],
  RING_CAPACITY: [1, 10_000_000],
  JOURNAL_MAX_EVENTS: [1, 10_000_000_000],
  HOT_HOURS: [1, 8_760],
  RETENTION_DAYS: [1, 36_500],
  AGGREGATE_RETENTION_DAYS: [1, 36_500],
  MAX_STREAMS: [1, 1_000_000],
  LEASE_MS: [100, 600_000],
  OUTCOME_TIMEOUT_MS: [1_000, 120_000],
  COMMIT_INTERVAL_US: [0, 100_000],
  REDIS_SHARDS: [1, 64],
  WORKERS: [1, 64],
  TRUST_PROXY: [0, 10],
  IDLE_TIMEOUT_S: [0, 255],
  DRAIN_MS: [0, 60_000],
  BROKER_PREFETCH: [1, 10_000],
};
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  STRICT_DURABILITY: ["0", "1"],
  RESPECT_DNT: ["0", "1"],
  BOT_FILTER: ["0", "1"],
  MYSQL_TLS: ["0", "1"],
  MYSQL_TLS_ANY_HOST: ["0", "1"],
  LOG_REQUESTS: ["0", "1"],
  LOG_LEVEL: ["debug", "info", "warn", "error", "silent"],
};
const URLS: Readonly<Record<string, { takes: string; bad: readonly string[] }>> = {
  REDIS_URL: {
    takes:
      "a URL such as redis://host:6379, redis://host:7000,host:7001 (nodes of a cluster), " +
      "redis+sentinel://host:26379,host:26380/name (Sentinels) or unix:///run/redis.sock",
    bad: [
      "redis://a:7000,",
      "redis://a:7000,b:x",
      "redis://a:7000,b:70000",
      "redis://a:7000,redis://b:7000",
      "redis://a:7000,b:7000/1",
      "redis://a:7000,b:7000?db=1",
      "redis://%zz@a:7000,b:7000",
      "redis+sentinel://a:26379",
      "redis+sentinel://a:26379/",
      "redis+sentinel:///name",
      "redis+sentinel://a:26379/name/1",
      "redis+sentinel://a:26379/name?password=secret",
      "sentinel://a:26379/name",
      "localhost:6379",
      "localhost",
      "http://h:6379",
      "redis://",
      "redis:6379",
      "mysql://h/d",
      "//h:6379",
      "redis://:100%@h:6379",
      "redis://us%er@h",
      "redis://h:6379/database",
      "redis://h:6379?db=1",
      "unix:",
      "unix://host/run/redis.sock",
      "/run/redis.sock",
    ],
  },
  MYSQL_URL: {
    takes: "a URL such as mysql://user:password@host:3306/hourglass",
    bad: [
      "localhost:3306",
      "mysql://h",
      "mysql://h:3306",
      "mysql://h:3306/",
      "mysql:///d",
      "mariadb://h/d",
      "redis://h",
      "mysql://h/d/e",
      "mysql://root:100%@h/d",
      "mysql://root@h/d?rowsAsArray=true",
      "mysql://root@h/d?ssl-mode=REQUIRED",
      "mysql://root@h/d?socketPath=/run/mysqld.sock&bigNumberStrings=true",
    ],
  },
  MYSQL_READ_URL: {
    takes: "a URL such as mysql://user:password@host:3306/hourglass",
    bad: ["localhost:3306", "mysql://h", "mysql://h:3306/", "mysql:///d", "mariadb://h/d", "mysql://h/d?dateStrings=1"],
  },
  BROKER_URL: {
    takes:
      "a URL such as amqp://user:password@host:5672/vhost (RabbitMQ), kafka://host:9092,host:9092 (Kafka) or " +
      "amqp10://user:password@host:5672 (AMQP 1.0)",
    bad: [
      "localhost:5672",
      "amqp://",
      "http://h:15672",
      "mqtt://h",
      "//h",
      "amqp://u:%@h",
      "amqp://h?cert=a",
      "kafka://",
      "kafka://h,",
      "kafka://h:x",
      "kafka://h/topic",
      "kafka://h?ssl=1",
      "kafka://u:%@h?sasl=plain",
      "kafka://u:p@h",
      "kafka://h?sasl=plain",
      "kafka://u:p@h?sasl=gssapi",
      "amqp10://",
      "amqp10://a,b",
      "amqp10://h/queue",
      "amqp10://h?heartbeat=1",
      "amqp10://u:%@h",
    ],
  },
};
const ORIGINS: Readonly<Record<string, { takes: string; bad: readonly string[] }>> = {
  CORS_ORIGINS: {
    takes: "origins separated by commas, such as https://example.com, or * for all",
    bad: ["example.com", "https://a.example,*", "https://*.example", "https://a.example/path"],
  },
  REDIRECT_ORIGINS: {
    takes: "origins separated by commas, such as https://example.com",
    bad: ["*", ",", "https://a.example,", "ftp://a.example", "null", "https://user@a.example", "https://a.example?b"],
  },
};
const SECRETS = ["REDIRECT_SECRET", "USER_SALT"];
const TEXTS = [
  "HOST",
  "DATA_DIR",
  "BROKER_QUEUE",
  "BROKER_GROUP",
  "BROKER_CA_FILE",
  "TLS_CERT_FILE",
  "TLS_KEY_FILE",
  "REDIS_CA_FILE",
  "MYSQL_CA_FILE",
];
const FORMS: Readonly<Record<string, { takes: string; good: readonly string[]; bad: readonly string[] }>> = {
  REQUIRE_KEYS: {
    takes: "some of write, read, admin, separated by commas",
    good: ["write", "read,admin", "write, read, admin"],
    bad: ["1", "all", "write,", "write;read", "Write", "*"],
  },
  ADDRESS_LIMIT: {
    takes: "a number from 1 to 1000000 per s, m or h (second, minute, hour), such as 100/s",
    good: ["100/s", "1/h", "1000000/m"],
    bad: ["100", "0/s", "100/d", "1e3/s", "1000001/s", "-1/s", "100 /s"],
  },
  BROWSER_STREAMS: {
    takes: "1 to 64 of A-Z a-z 0-9 . _ -, or a branch (site.*), or * for all, separated by commas",
    good: ["*", "web", "web.*,shop", "a, b"],
    bad: [",", "a,", "*.web", "a b", "a/b", "**", "web*", "web-*", ".*"],
  },
};
const KEY = `hg_${"0".repeat(16)}_${"A".repeat(43)}`;
const NAMES = [
  ...[INTEGERS, CHOICES, URLS, ORIGINS, FORMS].flatMap((settings) => Object.keys(settings)),
  "API_KEY",
  ...SECRETS,
  ...TEXTS,
].sort();

const NO_INTEGERS = ["abc", "1.5", "1e3", "0x10", "-1", "+1", " 1", "1 ", "1_000", "NaN", "Infinity", "9".repeat(16)];

function refusal(environment: Record<string, string>): string {
  try {
    readConfig(environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error(`${JSON.stringify(environment)} was taken`);
}

describe("a bad value is refused with its name, what it is and what it must be", () => {
  for (const [name, [min, max]] of Object.entries(INTEGERS)) {
    for (const value of [...NO_INTEGERS, String(min - 1), String(max + 1)]) {
      test(`${name}='${value}'`, () => {
        const takes = `an integer from ${min} to ${max}`;
        expect(refusal({ [name]: value })).toBe(`${name} must be ${takes}, but is '${value}'`);
      });
    }
  }

  for (const [name, values] of Object.entries(CHOICES)) {
    for (const value of ["2", "yes", "INFO", "trace", " 1"]) {
      test(`${name}='${value}'`, () => {
        expect(refusal({ [name]: value })).toBe(`${name} must be one of ${values.join(", ")}, but is '${value}'`);
      });
    }
  }

  for (const [name, { takes, bad }] of Object.entries(URLS)) {
    for (const value of bad) {
      test(`${name}='${value}'`, () => {
        const message = refusal({ REDIS_URL, MYSQL_URL, [name]: value });
        expect(message).toStartWith(`${name} must be ${takes}, but is something else`);
        expect(message).not.toContain("\n");
      });
    }
  }

  test("what is wrong within a URL is named, without what may be secret", () => {
    const faults: readonly (readonly [Record<string, string>, string])[] = [
      [
        { MYSQL_URL: `mysql://u:${PASSWORD}@h/d?ssl-mode=REQUIRED` },
        "ssl-mode is not supported: it takes socketPath; ",
      ],
      [{ MYSQL_URL: `mysql://u:${PASSWORD}@h/d?ssl-mode=REQUIRED` }, "set MYSQL_TLS=1 for TLS"],
      [{ MYSQL_URL: `mysql://u:${PASSWORD}@h/d?rowsAsArray=true&x=1` }, "option rowsAsArray, x is not supported"],
      [{ MYSQL_URL: `mysql://u:${PASSWORD}%@h/d` }, "its password has an invalid % escape"],
      [{ REDIS_URL: `redis://:${PASSWORD}%@h` }, "an invalid % escape: write %25"],
      [{ REDIS_URL: `redis://:${PASSWORD}@h?db=1` }, "it takes no options"],
      [{ REDIS_URL: `redis+sentinel://:${PASSWORD}@h/name?db=1` }, "sentinel_username, sentinel_password"],
      [{ BROKER_URL: `amqp://u:${PASSWORD}@h?cert=a`, BROKER_QUEUE: "q" }, "its option cert is not supported"],
      [{ BROKER_URL: `kafka://u:${PASSWORD}@h`, BROKER_QUEUE: "q" }, "require the option sasl (one of plain, scram-"],
    ];
    for (const [environment, said] of faults) {
      const message = refusal(environment);
      expect(message).toContain(said);
      expect(message).not.toContain(PASSWORD);
    }
  });

  for (const [name, { takes, bad }] of Object.entries(ORIGINS)) {
    for (const value of bad) {
      test(`${name}='${value}'`, () => {
        expect(refusal({ [name]: value })).toBe(`${name} must be ${takes}, but is '${value}'`);
      });
    }
  }

  for (const [name, { takes, bad }] of Object.entries(FORMS)) {
    for (const value of bad) {
      test(`${name}='${value}'`, () => {
        expect(refusal({ [name]: value })).toBe(`${name} must be ${takes}, but is '${value}'`);
      });
    }
  }

  test("API_KEY that is none, without showing it", () => {
    for (const value of [PASSWORD, KEY.slice(1), `${KEY}A`, ` ${KEY}`]) {
      const message = refusal({ API_KEY: value });
      expect(message).toStartWith("API_KEY must be a key that `hourglass keys create` has shown: hg_, ");
      expect(message).not.toContain(value);
    }
  });

  test("connections that would be unencrypted against the settings are refused", () => {
    const faults: readonly (readonly [Record<string, string>, string])[] = [
      [{ TLS_CERT_FILE: "a" }, "TLS_CERT_FILE is set, but TLS_KEY_FILE is not"],
      [{ TLS_KEY_FILE: "a" }, "TLS_KEY_FILE is set, but TLS_CERT_FILE is not"],
      [{ REDIS_URL, MYSQL_URL, REDIS_CA_FILE: "a" }, "REDIS_URL does not begin with rediss://"],
      [{ REDIS_CA_FILE: "a" }, "REDIS_URL does not begin with rediss://"],
      [
        { REDIS_URL: "redis+sentinel://h/name", MYSQL_URL, REDIS_CA_FILE: "a" },
        "REDIS_URL does not begin with rediss://",
      ],
      [{ MYSQL_TLS: "1" }, "MYSQL_TLS is 1, but MYSQL_URL is not set"],
      [{ REDIS_URL, MYSQL_URL, MYSQL_CA_FILE: "a" }, "MYSQL_TLS is not 1"],
      [{ REDIS_URL, MYSQL_URL, MYSQL_TLS: "1", MYSQL_TLS_ANY_HOST: "1" }, "MYSQL_CA_FILE is not set"],
    ];
    for (const [environment, said] of faults) expect(refusal(environment)).toContain(said);
  });

  test("REDIS_SHARDS without a Redis", () => {
    expect(refusal({ REDIS_SHARDS: "2" })).toStartWith("REDIS_SHARDS is 2, but the embedded stores have no shards");
    expect(readConfig({ REDIS_SHARDS: "1" }).redisShards).toBe(1);
  });

  test("a replica of nothing is refused", () => {
    expect(refusal({ MYSQL_READ_URL: MYSQL_URL })).toStartWith("MYSQL_READ_URL is set, but MYSQL_URL is not");
  });

  for (const name of SECRETS) {
    test(`${name} that is short, without showing it`, () => {
      const message = refusal({ [name]: PASSWORD });
      expect(message).toStartWith(`${name} must be a text of 16 or more characters, but is something else`);
      expect(message).toEndWith(`: its length is ${PASSWORD.length}`);
      expect(message).not.toContain(PASSWORD);
    });
  }

  test("several are refused at once, a line each", () => {
    const lines = refusal({ PORT: "x", LOG_LEVEL: "loud", HOT_HOURS: "0", MYSQL_URL: "?" }).split("\n");
    expect(lines.map((line) => line.split(" ")[0]!).sort()).toEqual(["HOT_HOURS", "LOG_LEVEL", "MYSQL_URL", "PORT"]);
  });

  test("one store of another kind than the other is refused", () => {
    expect(refusal({ REDIS_URL })).toContain("REDIS_URL is set, but MYSQL_URL is not");
    expect(refusal({ MYSQL_URL })).toContain("MYSQL_URL is set, but REDIS_URL is not");
  });

  test("a broker without a queue, or a queue without a broker, is refused", () => {
    const BROKER_URL = `amqp://user:${PASSWORD}@broker.example/events`;
    const message = refusal({ BROKER_URL });
    expect(message).toContain("BROKER_URL is set, but BROKER_QUEUE is not");
    expect(message).not.toContain(PASSWORD);
    expect(refusal({ BROKER_QUEUE: "events" })).toContain("BROKER_QUEUE is set, but BROKER_URL is not");
    expect(refusal({ BROKER_URL, BROKER_QUEUE: "ä".repeat(128) })).toContain("BROKER_QUEUE must be a name of 1 to 255");
    expect(readConfig({ BROKER_URL, BROKER_QUEUE: "events" })).toMatchObject({
      ...{ brokerUrl: BROKER_URL, brokerQueue: "events", brokerGroup: "hourglass", brokerPrefetch: 1_000 },
    });
  });

  test("a broker's settings are refused where they would be ignored", () => {
    for (const [name, value] of [
      ["BROKER_GROUP", "hourglass"],
      ["BROKER_PREFETCH", "10"],
    ] as const) {
      expect(refusal({ [name]: value })).toBe(`${name} is set, but BROKER_URL is not, so it is ignored: unset it`);
    }
    const group = { BROKER_QUEUE: "events", BROKER_GROUP: "hourglass" };
    expect(refusal({ BROKER_URL: "amqp://h", ...group })).toStartWith("BROKER_GROUP is set, but BROKER_URL does not");
    expect(readConfig({ BROKER_URL: "kafkas://h", ...group }).brokerGroup).toBe("hourglass");
  });

  test("certificates of a broker that is not reached by TLS are refused", () => {
    const rest = { BROKER_QUEUE: "events", BROKER_CA_FILE: "/ca.pem" };
    expect(refusal({ BROKER_URL: "kafka://h", ...rest })).toContain("BROKER_CA_FILE is set, but BROKER_URL");
    expect(readConfig({ BROKER_URL: "kafkas://h", ...rest }).brokerCaFile).toBe("/ca.pem");
  });

  test("brokers of Kafka are a list, with a login for all", () => {
    expect(brokerPlaceOf("kafkas://ann:a%2Fb%20c@a:9093,[::1],b?sasl=scram-sha-256")).toEqual({
      kind: "kafka",
      hosts: [
        { host: "a", port: 9093 },
        { host: "::1", port: 9092 },
        { host: "b", port: 9092 },
      ],
      isTls: true,
      login: { mechanism: "SCRAM-SHA-256", username: "ann", password: "a/b c" },
    });
    expect(brokerPlaceOf("amqp10s://ann:a%2Fb@h")).toEqual({
      ...{ kind: "amqp10", host: "h", port: 5671, isTls: true, login: { username: "ann", password: "a/b" } },
    });
    expect(describeBrokerPlace(brokerPlaceOf(`amqp10://ann:${PASSWORD}@h`)!)).toBe("amqp10://h:5672");
    const place = brokerPlaceOf(`kafka://ann:${PASSWORD}@a,[::1]:9094?sasl=plain`)!;
    expect(describeBrokerPlace(place)).toBe("kafka://a:9092,[::1]:9094");
  });

  test("replicas to wait for are refused where there are none", () => {
    expect(refusal({ REDIS_WAIT_REPLICAS: "1" })).toContain("REDIS_WAIT_REPLICAS is 1, but REDIS_URL is not set");
    expect(readConfig({ REDIS_URL, MYSQL_URL, REDIS_WAIT_REPLICAS: "1" }).redisWaitReplicas).toBe(1);
  });

  test("several workers are refused where they could not share", () => {
    expect(refusal({ WORKERS: "2" })).toContain("WORKERS is 2, but the embedded stores serve one process");
    expect(refusal({ WORKERS: "2", REDIS_URL, MYSQL_URL, PORT: "0" })).toContain("PORT is 0");
  });

  test("counts that would go before their rows are refused", () => {
    const before = refusal({ RETENTION_DAYS: "9", AGGREGATE_RETENTION_DAYS: "8" });
    expect(before).toContain("AGGREGATE_RETENTION_DAYS is 8, but RETENTION_DAYS is 9");
    expect(refusal({ AGGREGATE_RETENTION_DAYS: "8" })).toContain("but RETENTION_DAYS is not set");
    expect(readConfig({ RETENTION_DAYS: "8", AGGREGATE_RETENTION_DAYS: "8" })).toMatchObject({
      retentionDays: 8,
      aggregateRetentionDays: 8,
    });
    expect(readConfig({})).toMatchObject({ retentionDays: undefined, aggregateRetentionDays: undefined });
  });

  test("a password is not shown", () => {
    for (const url of [`rediss//u:${PASSWORD}@h`, `redis://u:${PASSWORD}@`, PASSWORD, `mysql://u:${PASSWORD}@h`]) {
      expect(refusal({ REDIS_URL: url, MYSQL_URL: url })).not.toContain(PASSWORD);
    }
    for (const alone of [`redis://:${PASSWORD}@h:6379`]) {
      expect(refusal({ REDIS_URL: alone })).not.toContain(PASSWORD);
    }
  });
});

describe("a good value", () => {
  test("is accepted at both bounds", () => {
    const both = { REDIS_URL, MYSQL_URL, RETENTION_DAYS: "1", BROKER_URL: "amqp://h", BROKER_QUEUE: "events" };
    for (const [name, bounds] of Object.entries(INTEGERS)) {
      for (const value of bounds)
        expect(Object.values(readConfig({ ...both, [name]: String(value) }))).toContain(value);
    }
    const ofChoice: Readonly<Record<string, Record<string, string>>> = {
      MYSQL_TLS: both,
      MYSQL_TLS_ANY_HOST: { ...both, MYSQL_TLS: "1", MYSQL_CA_FILE: "a" },
    };
    for (const [name, values] of Object.entries(CHOICES)) {
      const others = ofChoice[name] ?? {};
      for (const value of values) expect(() => readConfig({ ...others, [name]: value })).not.toThrow();
    }
  });

  test("is accepted in each of its forms", () => {
    for (const [name, { good }] of Object.entries(FORMS)) {
      for (const value of good) expect(() => readConfig({ [name]: value })).not.toThrow();
    }
    const config = readConfig({
      REQUIRE_KEYS: "write, read",
      ADDRESS_LIMIT: "100/m",
      BROWSER_STREAMS: "web.*,shop",
    });
    expect(config).toMatchObject({
      requiredScopes: ["write", "read"],
      addressLimit: { count: 100, windowMs: 60_000 },
      browserStreams: ["web.*", "shop"],
    });
    expect(readConfig({ API_KEY: KEY }).apiKey).toBe(KEY);
  });

  test("is accepted for each kind of Redis", () => {
    const login = { username: "user", password: "p@:ss" };
    const [a, b] = [
      { host: "a.example", port: 7000 },
      { host: "::1", port: 6379 },
    ];
    const places: Readonly<Record<string, RedisPlace>> = {
      "redis://a.example:7000": { kind: "server", url: "redis://a.example:7000" },
      "redis://a.example:7000,[::1]": { kind: "cluster", nodes: [a, b], login: {}, isTls: false },
      "rediss://user:p%40:ss@a.example:7000, [::1]:6379/": {
        kind: "cluster",
        nodes: [a, b],
        login,
        isTls: true,
      },
      "redis+sentinel://a.example:7000/name": {
        kind: "sentinel",
        nodes: [a],
        name: "name",
        login: {},
        sentinelLogin: {},
        isTls: false,
      },
      "rediss+sentinel://:p%40:ss@[::1]:6379,a.example/a%20name?sentinel_username=user&sentinel_password=p%40%3Ass": {
        kind: "sentinel",
        nodes: [b, { ...a, port: 26_379 }],
        name: "a name",
        login: { password: "p@:ss" },
        sentinelLogin: login,
        isTls: true,
      },
    };
    for (const [url, place] of Object.entries(places)) {
      expect(readConfig({ REDIS_URL: url, MYSQL_URL }).redisUrl).toBe(url);
      expect(redisPlaceOf(url)).toEqual(place);
      expect(describeRedisPlace(place)).not.toContain("ss@");
    }
    const described = Object.values(places).map(describeRedisPlace);
    expect(described.at(-1)).toBe("rediss+sentinel://[::1]:6379,a.example:26379/a%20name");
    expect(described[2]).toBe("rediss://a.example:7000,[::1]:6379");
  });

  test("is accepted for both URLs", () => {
    const config = readConfig({ REDIS_URL: "rediss://user:p%40ss@cache.example:6380/1", MYSQL_URL });
    expect(config.redisUrl).toBe("rediss://user:p%40ss@cache.example:6380/1");
    expect(config.mysqlUrl).toBe(MYSQL_URL);
    const bySocket = "unix:///run/redis.sock?db=1";
    expect(readConfig({ REDIS_URL: bySocket, MYSQL_URL }).redisUrl).toBe(bySocket);
  });

  test("of shards are several in a cluster, and one elsewhere, unless that is set", () => {
    const shardsAt = (REDIS_URL: string, more = {}) => readConfig({ REDIS_URL, MYSQL_URL, ...more }).redisShards;
    expect(shardsAt("redis://a.example:7000,b.example:7000")).toBe(6);
    expect(shardsAt("redis://a.example:7000,b.example:7000", { REDIS_SHARDS: "1" })).toBe(1);
    expect(shardsAt("redis://a.example:7000")).toBe(1);
    expect(shardsAt("redis+sentinel://a.example/main", { REDIS_SHARDS: "12" })).toBe(12);
  });

  test("is an IPv6 address, with the brackets of a URL or without", () => {
    expect(["::1", "[::1]", "[::]"].map((HOST) => readConfig({ HOST }).host)).toEqual(["::1", "::1", "::"]);
    expect(() => readConfig({ HOST: "[]" })).toThrow("HOST must be");
  });

  test("is a list of origins, as browsers write them", () => {
    const list = " https://A.example:443/ ,http://b.example:8080";
    const expected = ["https://a.example", "http://b.example:8080"];
    const config = readConfig({ CORS_ORIGINS: list, REDIRECT_ORIGINS: list });
    expect(config).toMatchObject({ corsOrigins: expected, redirectOrigins: expected });
    expect(readConfig({ CORS_ORIGINS: "*" }).corsOrigins).toEqual(["*"]);
  });

  test("is the fallback where nothing or nothing but '' is set", () => {
    const fallback = readConfig({});
    expect(fallback).toMatchObject({
      port: 7777,
      host: "127.0.0.1",
      dataDir: "./data",
      hotHours: 24,
      maxStreams: 100_000,
      logLevel: "info",
      isEachRequestLogged: false,
    });
    expect(fallback).toMatchObject({ redisUrl: undefined, mysqlUrl: undefined, isDurabilityStrict: false });
    expect(fallback).toMatchObject({ corsOrigins: undefined, isDntRespected: false, trustedProxies: 0 });
    expect(readConfig(Object.fromEntries(NAMES.map((name) => [name, ""])))).toEqual(fallback);
  });

  test("cannot be changed afterwards", () => {
    const config = readConfig({});
    expect(Object.isFrozen(config)).toBe(true);
  });
});

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

describe("the program", () => {
  let folder: string;
  let other: Server;
  let otherPort: number;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "hourglass-config-test-"));
    otherPort = await freePort();
    other = createServer().listen(otherPort, "127.0.0.1");
    await waitFor("another server", () => other.listening);
  });
  afterAll(() => {
    other.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function run(settings: Record<string, string>, args: readonly string[] = []): Promise<Ended> {
    const child = Bun.spawn([process.execPath, join(PROJECT_ROOT, "src/main.ts"), ...args], {
      cwd: folder,
      env: { PATH: process.env["PATH"] ?? "", PORT: "0", ...settings },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: PROCESS_TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { code, stdout, stderr };
  }

  /** Ended with 2, and nothing but these texts said why: no trace of a stack. */
  function expectRefusal({ code, stdout, stderr }: Ended, ...parts: string[]): void {
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("hourglass cannot start:\n");
    for (const part of parts) expect(stderr).toContain(part);
    expect(stderr).not.toMatch(/^\s+at /m);
  }

  test(
    "ends with 2 on bad values, and names each",
    async () => {
      const ended = await run({ PORT: "70000", FLUSH_INTERVAL_MS: "soon", REDIS_URL: `r://:${PASSWORD}@h` });
      expectRefusal(
        ended,
        "PORT must be an integer from 0 to 65535, but is '70000'\n",
        "FLUSH_INTERVAL_MS must be an integer from 10 to 60000, but is 'soon'\n",
        "REDIS_URL must be a URL such as redis://host:6379, redis://host:7000,host:7001 (nodes of a cluster), ",
        " or unix:///run/redis.sock, but is something else",
      );
      expect(ended.stderr).not.toContain(PASSWORD);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "ends with 2 on one URL alone",
    async () => {
      expectRefusal(await run({ REDIS_URL }), "REDIS_URL is set, but MYSQL_URL is not");
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "ends with 2 on a port that is in use, and says what to do",
    async () => {
      const ended = await run({ PORT: String(otherPort), DATA_DIR: join(folder, "port") });
      const tried = `Cannot listen on 127.0.0.1:${otherPort}: EADDRINUSE, another process listens there; `;
      expectRefusal(ended, tried, "set PORT to a free one");
      expect(existsSync(join(folder, "port"))).toBe(false);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "ends with 2 on an address that is not this machine's",
    async () => {
      const ended = await run({ HOST: "192.0.2.1", DATA_DIR: join(folder, "host") });
      expectRefusal(ended, "Cannot listen on 192.0.2.1:0: EADDRNOTAVAIL, ", "HOST to an address of this machine");
      const unknown = await run({ HOST: "not a host", DATA_DIR: join(folder, "host") });
      expectRefusal(unknown, "Cannot listen on not a host:0: ", "no address to listen on, nor a name of one; set HOST");
    },
    2 * PROCESS_TIMEOUT_MS,
  );

  test(
    "ends with 2 on a data folder that cannot be one",
    async () => {
      writeFileSync(join(folder, "file"), "");
      const ended = await run({ DATA_DIR: join(folder, "file") });
      expectRefusal(ended, join(folder, "file"), "DATA_DIR must be a folder");
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "ends with 2 on a data folder that another instance has",
    async () => {
      const first = await startService();
      try {
        const ended = await run({ DATA_DIR: first.dataDir });
        expectRefusal(ended, "another Hourglass is running on this folder", "DATA_DIR");
        // And the first instance still works.
        const event = { at: Date.now(), user: "foo", kind: "click" } as const;
        expect((await ask(first.port, { method: "POST", target: eventTarget(event) })).status).toBe(204);
      } finally {
        await first.stop();
      }
    },
    2 * PROCESS_TIMEOUT_MS,
  );

  test(
    "--help lists every setting with its fallback, and nothing else",
    async () => {
      const { code, stdout } = await run({}, ["--help"]);
      expect(code).toBe(0);
      const settings = stdout.slice(stdout.indexOf("Settings")).replace(/\n {3,}/g, " ");
      const listed = Array.from(settings.matchAll(/^ {2}([A-Z][A-Z_]+) +(.+)$/gm), ([, name, text]) => ({
        name,
        text,
      }));
      expect(listed.map(({ name }) => name!).sort()).toEqual(NAMES);
      for (const { text } of listed) expect(text).toMatch(/^[a-z0-9].+ \(.+\)$/);
      expect(settings).toContain("(7777; 0 to 65535)");
      for (const [name, [min, max]] of Object.entries(INTEGERS)) {
        expect(listed.find((setting) => setting.name === name)!.text).toEndWith(`; ${min} to ${max})`);
      }
      for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "a command that a setting keeps from running does not say that the service cannot start",
    async () => {
      const { code, stderr } = await run({}, ["sign-redirect", "https://a.example/"]);
      expect({ code, stderr }).toEqual({
        code: 2,
        stderr: expect.stringMatching(/^hourglass sign-redirect failed:\nREDIRECT_SECRET is not set: /),
      });
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "serve --help lists the settings in groups",
    async () => {
      const { stdout } = await run({}, ["serve", "--help"]);
      expect(stdout).toMatch(/\nThe server:\n {2}PORT +port to listen on/);
      expect(stdout).toMatch(/\nStores:\n {2}DATA_DIR /);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "refuses an unknown option and an unknown command, and points to the setting",
    async () => {
      const refusals = {
        "--port=1": "unknown option '--port=1': set the environment variable PORT instead",
        "--data-dir": "unknown option '--data-dir': set the environment variable DATA_DIR instead",
        "--prt": "unknown option '--prt'\n",
        sreve: "unknown command 'sreve': expected one of serve, healthcheck, import, ",
      };
      for (const [argument, said] of Object.entries(refusals)) {
        const { code, stderr } = await run({}, [argument]);
        expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(said) });
        expect(stderr).toStartWith("error: ");
      }
    },
    2 * PROCESS_TIMEOUT_MS,
  );
});

describe("a service whose stores are unavailable", () => {
  let service: Service;

  beforeAll(async () => {
    const [redisPort, mysqlPort] = [await freePort(), await freePort()];
    const settings = {
      REDIS_URL: `redis://someone:${PASSWORD}@127.0.0.1:${redisPort}`,
      MYSQL_URL: `mysql://someone:${PASSWORD}@127.0.0.1:${mysqlPort}/hourglass`,
      LOG_LEVEL: "debug",
      LOG_REQUESTS: "1",
    };
    service = await startService({ settings, readyPath: "/livez" });
  }, PROCESS_TIMEOUT_MS);
  afterAll(() => service.stop());

  test(
    "runs, says that it is not ready, and shows its password nowhere",
    async () => {
      const event = { at: Date.now(), user: "foo", kind: "click" } as const;
      const answers = await Promise.all([
        ask(service.port, { method: "GET", target: "/readyz" }),
        ask(service.port, { method: "POST", target: eventTarget(event) }),
        ask(service.port, { method: "GET", target: hourTarget(event.at) }),
      ]);
      expect(answers.map(({ status }) => status)).toEqual([503, 503, 503]);
      const [, ...refusals] = answers.map(({ headers }) => headers.get("retry-after"));
      expect(refusals).toEqual(["1", "1"]);
      await waitFor("the flusher to have tried", () => service.log().includes("hot store is unavailable"));
      expect([service.log(), ...answers.map(({ body }) => body)].join("\n")).not.toContain(PASSWORD);
    },
    PROCESS_TIMEOUT_MS,
  );
});

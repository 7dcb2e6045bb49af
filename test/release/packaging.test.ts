/** What is shipped: the program in one file, and the files that put it into a container. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { validate } from "dockerfile-utils";
import { createConnection } from "mysql2/promise";
import { version } from "../../package.json";
import { withDeadline } from "../../src/runtime/clock.ts";
import { startRabbitMq } from "../harness/brokers/rabbitmq.ts";
import { lintCompose } from "../harness/project/compose-lint.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { makeCertificates } from "../harness/servers/certificates.ts";
import { freePort } from "../harness/servers/ports.ts";
import { startRedisCluster } from "../harness/servers/redis/cluster.ts";
import { describeWithServers, startMariaDb, startRedis } from "../harness/servers/servers.ts";
import { waitFor } from "../harness/service/wait-for.ts";
import { longTest } from "../harness/tiers.ts";

const BUILD_TIMEOUT_MS = 180_000;
const SLOW_TEST_MS = 180_000;
const EXIT_TIMEOUT_MS = 30_000;

const folder = mkdtempSync(join(tmpdir(), "hourglass-packaging-"));
const program = join(folder, "hourglass");
/** None of the settings of the shell that runs the tests. */
const BARE_ENV = { PATH: process.env["PATH"] };

beforeAll(async () => {
  const build = [process.execPath, join(PROJECT_ROOT, "scripts", "build.ts"), `--outfile=${program}`];
  const { exitCode, stderr } = await run(build, PROJECT_ROOT);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
}, BUILD_TIMEOUT_MS);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

let folders = 0;
function newFolder(): string {
  const path = join(folder, `folder-${++folders}`);
  mkdirSync(path);
  return path;
}

interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(command: readonly string[], cwd: string, env: Record<string, string> = {}): Promise<Outcome> {
  const child = Bun.spawn([...command], {
    cwd,
    env: { ...BARE_ENV, ...env },
    stdout: "pipe",
    stderr: "pipe",
    timeout: BUILD_TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { exitCode, stdout, stderr };
}

/** The program as a running service. `await using` kills it if the test did not stop it. */
async function serve(cwd: string, settings: Record<string, string> = {}, tls?: { ca: string }) {
  const port = await freePort();
  const env = { ...settings, PORT: String(port) };
  const log = Bun.file(join(folder, `log-${port}`));
  const child = Bun.spawn([program], { cwd, env: { ...BARE_ENV, ...env }, stdout: log, stderr: log });
  const url = `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`;
  const service = {
    url,
    output: () => log.text(),
    isHealthy: async () => (await run([program, "healthcheck"], cwd, env)).exitCode === 0,
    async stop(): Promise<number> {
      child.kill("SIGTERM");
      return withDeadline(child.exited, EXIT_TIMEOUT_MS, () => new Error("SIGTERM did not end it"));
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
  try {
    await waitFor("the service to be ready", async () => (await fetch(`${url}/readyz`, { ...(tls && { tls }) })).ok);
  } catch (error) {
    await service[Symbol.asyncDispose]();
    throw new Error(`the service did not start:\n${await log.text()}`, { cause: error });
  }
  return service;
}

const AT = Date.UTC(2026, 0, 31, 12, 30);

async function post(url: string, user: string): Promise<number> {
  const answer = await fetch(`${url}/analytics?timestamp=${AT}&user=${user}&click`, { method: "POST" });
  return answer.status;
}

async function counts(url: string): Promise<string> {
  return (await fetch(`${url}/analytics?timestamp=${AT}`)).text();
}

/** The files of the page are within the program. */
async function expectDocs(url: string): Promise<void> {
  const described = (await (await fetch(`${url}/openapi.json`)).json()) as { info: object };
  expect(described.info).toMatchObject({ version });
  for (const path of [
    "/",
    "/dashboard/main.js",
    "/dashboard/page.css",
    "/dashboard/uplot.js",
    "/docs",
    "/docs/page.js",
    "/docs/page.css",
    "/docs/swagger-ui.js",
    "/docs/swagger-ui.css",
  ]) {
    const answer = await fetch(url + path);
    expect([path, answer.status, (await answer.text()).length > 100]).toEqual([path, 200, true]);
  }
}

/** For the log in test/data: estimates are within three standard errors. */
async function expectUsersByKind(url: string): Promise<void> {
  const usersOf = async (more: string) => {
    const answer = await fetch(`${url}/series?from=2015-05-17&to=2015-05-22&step=total${more}`);
    const { total } = (await answer.json()) as { total: Record<string, number> };
    return [total["unique_users"], total["unique_clickers"], total["unique_viewers"]] as number[];
  };
  const [estimates, exact] = [await usersOf(""), await usersOf("&exact=1")];
  const errors = exact.map((users, i) => Math.abs(estimates[i]! - users) / users);
  expect(errors.filter((error) => !(error <= 3 * 0.0081))).toEqual([]);
}

describe("the program", () => {
  test("is one file", () => {
    expect(readdirSync(folder).filter((name) => name.startsWith("hourglass"))).toEqual(["hourglass"]);
  });

  test("shows its version and its settings from an empty folder, and leaves it empty", async () => {
    const cwd = newFolder();
    expect(await run([program, "--version"], cwd)).toEqual({
      exitCode: 0,
      stdout: `${version}\n`,
      stderr: "",
    });
    const help = await run([program, "--help"], cwd);
    expect(help.exitCode).toBe(0);
    for (const setting of ["PORT", "DATA_DIR", "REDIS_URL", "MYSQL_URL"]) expect(help.stdout).toContain(setting);
    expect(readdirSync(cwd)).toEqual([]);
  });

  test("reads neither settings nor code from the folder it starts in", async () => {
    const cwd = newFolder();
    const loaded = join(cwd, "loaded");
    writeFileSync(join(cwd, ".env"), "PORT=nonsense\n");
    writeFileSync(join(cwd, "bunfig.toml"), 'preload = ["./preload.ts"]\n');
    writeFileSync(join(cwd, "preload.ts"), `await Bun.write(${JSON.stringify(loaded)}, "");\n`);
    const { stderr } = await run([program, "healthcheck"], cwd);
    expect(stderr).not.toContain("nonsense");
    expect(existsSync(loaded)).toBe(false);
    // The trap works: told to, the program does take that setting.
    expect((await run([program, "healthcheck"], cwd, { PORT: "nonsense" })).stderr).toContain("nonsense");
  });

  test(
    "serves from an empty folder, and finds its counts again",
    async () => {
      const cwd = newFolder();
      await using first = await serve(cwd);
      expect(await first.output()).toContain(first.url);
      expect(await post(first.url, "ada")).toBe(204);
      await expectDocs(first.url);
      expect(await first.isHealthy()).toBe(true);
      expect(await first.stop()).toBe(0);
      expect(await first.isHealthy()).toBe(false);
      expect(readdirSync(cwd)).toEqual(["data"]);

      await using second = await serve(cwd, { RETENTION_DAYS: "30000" });
      expect(await counts(second.url)).toBe("unique_users,1\nclicks,1\nimpressions,0\n");
      for (const clicks of [1, 0]) {
        const forgotten = await run([program, "forget", "--user", "ada", "--json", "--url", second.url], cwd);
        expect(forgotten).toMatchObject({ exitCode: 0, stderr: "" });
        expect(JSON.parse(forgotten.stdout)).toMatchObject({ clicks, hours: clicks });
      }
      expect(await counts(second.url)).toBe("unique_users,1\nclicks,1\nimpressions,0\n");
      expect(await second.stop()).toBe(0);
    },
    SLOW_TEST_MS,
  );

  test(
    "imports a file, and exports what it imported, from an empty folder",
    async () => {
      const cwd = newFolder();
      await using service = await serve(cwd);
      const log = join(PROJECT_ROOT, "test", "data", "access.log.gz");
      const import_ = [program, "import", "--url", service.url, log];
      const first = await run(import_, cwd);
      expect(first.stderr).toBe("");
      expect(first.stdout).toContain("10,000 events accepted, 0 duplicates, 0 bad lines");
      expect((await run(import_, cwd)).stdout).toContain("imported before");
      const exported = await waitFor("all rows", async () => {
        const { stdout, stderr } = await run([program, "export", "--format", "ndjson"], cwd);
        return stderr.startsWith("10,000 events") && stdout;
      });
      expect(exported.split("\n")).toHaveLength(10_001);
      await expectUsersByKind(service.url);
      expect(await service.stop()).toBe(0);
    },
    SLOW_TEST_MS,
  );
});

describe("the program, with keys", () => {
  test(
    "makes a key that it takes, by HTTPS, and refuses all others",
    async () => {
      const certificates = await makeCertificates();
      const cwd = newFolder();
      const settings = {
        ...{ REQUIRE_KEYS: "write,read,admin", ADDRESS_LIMIT: "1000/s" },
        ...{ TLS_CERT_FILE: certificates.certFile, TLS_KEY_FILE: certificates.keyFile },
      };
      try {
        const tls = { ca: await Bun.file(certificates.caFile).text() };
        await using service = await serve(cwd, settings, tls);
        const made = await run([program, "keys", "create", "--name", "a", "--scope", "write,read", "--json"], cwd);
        expect(made.stderr).toBe("");
        const { key } = JSON.parse(made.stdout) as { key: string };
        const headers = { authorization: `Bearer ${key}` };
        const count = (head = {}) =>
          fetch(`${service.url}/analytics?timestamp=${AT}&user=ada&click`, {
            method: "POST",
            headers: head,
            tls,
          });
        await waitFor("the key to be known", async () => (await count(headers)).status === 204);
        expect((await count()).status).toBe(401);
        const read = await fetch(`${service.url}/analytics?timestamp=${AT}`, { headers, tls });
        expect(await read.text()).toBe("unique_users,1\nclicks,1\nimpressions,0\n");
        expect((await fetch(`${service.url}/metrics`, { headers, tls })).status).toBe(403);
        expect(await service.stop()).toBe(0);
      } finally {
        certificates.delete();
      }
    },
    SLOW_TEST_MS,
  );
});

describe("the program, for browsers", () => {
  test(
    "has the snippet in it, signs redirects that it follows, and knows bots",
    async () => {
      const cwd = newFolder();
      const settings = { REDIRECT_SECRET: "the redirect secret", BOT_FILTER: "1" };
      await using service = await serve(cwd, settings);
      const snippet = await fetch(`${service.url}/hourglass.js`);
      expect(await snippet.text()).toBe(await projectFile("src/http/ingest/hourglass.js"));
      const page = "https://shop.example/spring";
      const sign = [program, "sign-redirect", page, "--base", service.url];
      const { stdout, stderr } = await run(sign, cwd, settings);
      expect(stderr).toBe("");
      const answer = await fetch(stdout.trim(), { redirect: "manual" });
      expect([answer.status, answer.headers.get("location")]).toEqual([302, page]);
      const pixel = `${service.url}/pixel.gif?timestamp=${AT}`;
      const seenBy = async (agent: string) => {
        const { headers } = await fetch(pixel, { headers: { "user-agent": agent } });
        return headers.get("hourglass-not-counted");
      };
      expect(await seenBy("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")).toBeNull();
      expect(await seenBy("Mozilla/5.0 (compatible; Googlebot/2.1)")).toBe("bot");
      expect(await counts(service.url)).toBe("unique_users,1\nclicks,0\nimpressions,1\n");
    },
    SLOW_TEST_MS,
  );
});

describeWithServers("the program with RabbitMQ", ["rabbitmq"], () => {
  longTest(
    "takes events from a queue, from an empty folder, and sets aside what is none",
    async () => {
      const broker = await startRabbitMq();
      try {
        await broker.declare("events");
        const cwd = newFolder();
        await using service = await serve(cwd, { BROKER_URL: broker.url, BROKER_QUEUE: "events" });
        const body = JSON.stringify({ timestamp: AT, user: "ada", event: "click" });
        await broker.publish("events", [{ body, options: { messageId: "one" } }, { body: "nonsense" }]);
        await waitFor("its count", async () => {
          return (await counts(service.url)) === "unique_users,1\nclicks,1\nimpressions,0\n";
        });
        await waitFor("the poison", async () => {
          return (await run([program, "poison", "list"], cwd)).stdout.includes("1 piece of poison");
        });
        expect(await service.stop()).toBe(0);
        expect(await broker.depth("events")).toBe(0);
      } finally {
        await broker.stop();
      }
    },
    BUILD_TIMEOUT_MS,
  );
});

describeWithServers("the program with Redis and MySQL", ["redis", "mariadb"], () => {
  test(
    "serves from an empty folder, and has its rows in MySQL when it ends",
    async () => {
      const [redis, mariaDb] = await Promise.all([startRedis(), startMariaDb()]);
      try {
        await using service = await serve(newFolder(), { REDIS_URL: redis.url, MYSQL_URL: mariaDb.url });
        expect(await post(service.url, "ada")).toBe(204);
        expect(await counts(service.url)).toBe("unique_users,1\nclicks,1\nimpressions,0\n");
        expect(await service.stop()).toBe(0);
        const connection = await createConnection(mariaDb.url);
        const [rows] = await connection.query("SELECT COUNT(*) AS events FROM events");
        await connection.end();
        expect(rows).toEqual([{ events: 1 }] as unknown as typeof rows);
      } finally {
        await Promise.all([redis.stop(), mariaDb.stop()]);
      }
    },
    SLOW_TEST_MS,
  );

  test(
    "serves from a Redis Cluster",
    async () => {
      const [cluster, mariaDb] = await Promise.all([startRedisCluster({ replicasPerMaster: 0 }), startMariaDb()]);
      try {
        await using service = await serve(newFolder(), { REDIS_URL: cluster.url, MYSQL_URL: mariaDb.url });
        expect(await post(service.url, "ada")).toBe(204);
        expect(await counts(service.url)).toBe("unique_users,1\nclicks,1\nimpressions,0\n");
        expect(await service.stop()).toBe(0);
      } finally {
        await Promise.all([cluster.stop(), mariaDb.stop()]);
      }
    },
    SLOW_TEST_MS,
  );

  test(
    "has workers whose metrics come in one scrape",
    async () => {
      const [redis, mariaDb] = await Promise.all([startRedis(), startMariaDb()]);
      try {
        const settings = { REDIS_URL: redis.url, MYSQL_URL: mariaDb.url, WORKERS: "2" };
        await using service = await serve(newFolder(), settings);
        await waitFor("both workers in one scrape", async () => {
          const text = await (await fetch(`${service.url}/metrics`)).text();
          return [0, 1].every((worker) => text.includes(`hourglass_ready{worker="${worker}"} 1`));
        });
        expect(await service.stop()).toBe(0);
      } finally {
        await Promise.all([redis.stop(), mariaDb.stop()]);
      }
    },
    SLOW_TEST_MS,
  );
});

async function projectFile(path: string): Promise<string> {
  return Bun.file(join(PROJECT_ROOT, path)).text();
}

describe("the Dockerfile", async () => {
  const text = await projectFile("Dockerfile");
  const instructions = instructionsOf(text);
  const finalStage = instructions.slice(instructions.findLastIndex(({ name }) => name === "FROM"));
  const argumentsOf = (name: string, among = finalStage) =>
    among.filter((instruction) => instruction.name === name).map((instruction) => instruction.value);
  const build = new Map(argumentsOf("ARG", instructions).map((value) => value.split("=") as [string, string]));

  test("has nothing that the linter objects to", () => {
    expect(validate(text)).toEqual([]);
    expect(validate(text.replace("EXPOSE 7777", "EXPOSE door"))).toHaveLength(1);
  });

  test("builds on images of a given version", () => {
    for (const value of argumentsOf("FROM", instructions)) {
      const image = value.split(" ")[0]!.replace(/^\$\{(\w+)\}$/, (_, name) => build.get(name) ?? "");
      expect(image).toMatch(/^[a-z][\w./-]*:(?!latest$)[\w.-]+$/);
    }
  });

  test("copies what is there, and what its .dockerignore lets through", async () => {
    const ignored = (await projectFile(".dockerignore")).split("\n").filter((line) => /^[^#]/.test(line));
    const sources = argumentsOf("COPY", instructions)
      .filter((value) => !value.startsWith("--from="))
      .flatMap((value) => value.split(" ").slice(0, -1));
    expect(ignored[0]).toBe("*");
    expect(sources.map((path) => `!${path}`).sort()).toEqual(ignored.slice(1).sort());
    for (const path of sources) expect(existsSync(join(PROJECT_ROOT, path))).toBe(true);
  });

  test("runs unprivileged, stores its data in a volume, and checks its health", () => {
    expect(argumentsOf("USER")).toEqual(["65532:65532"]);
    expect(argumentsOf("VOLUME")).toEqual(["/data"]);
    const settings = argumentsOf("ENV").join(" ").split(/\s+/);
    expect(settings).toContain("DATA_DIR=/data");
    expect(settings).toContain("HOST=0.0.0.0");
    expect(settings).toContain(`PORT=${argumentsOf("EXPOSE")[0]}`);
    const entrypoint = JSON.parse(argumentsOf("ENTRYPOINT")[0]!) as string[];
    const healthcheck: unknown = JSON.parse(argumentsOf("HEALTHCHECK")[0]!.replace(/^.*CMD /, ""));
    expect(healthcheck).toEqual([...entrypoint.slice(entrypoint.indexOf("--") + 1), "healthcheck"]);
    expect(argumentsOf("STOPSIGNAL")).toEqual(["SIGTERM"]);
  });

  test("carries the version of the package", () => expect(build.get("VERSION")).toBe(version));
});

/** Comments left out, continued lines joined. */
function instructionsOf(text: string): { name: string; value: string }[] {
  const joined = text.replace(/^\s*#.*\n/gm, "").replace(/\\\n\s*/g, "");
  return Array.from(joined.matchAll(/^([A-Z]+) (.*)$/gm), ([, name, value]) => ({
    name: name!,
    value: value!,
  }));
}

interface ComposeService {
  readonly image?: string;
  readonly command?: readonly string[];
  readonly ports?: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: unknown;
  readonly restart: string;
  readonly volumes: readonly string[];
}

describe("docker-compose.yml", async () => {
  const path = join(PROJECT_ROOT, "docker-compose.yml");
  type Names = "hourglass" | "mysql" | "redis" | "kafka" | "prometheus" | "grafana";
  const file = Bun.YAML.parse(await projectFile("docker-compose.yml")) as {
    readonly services: Readonly<Record<Names, ComposeService>>;
    readonly volumes: Readonly<Record<string, unknown>>;
  };
  const { hourglass, mysql, redis, kafka, prometheus, grafana } = file.services;

  test("has nothing that the linter objects to", () => {
    expect(lintCompose(path)).toEqual([]);
    const broken = join(newFolder(), "docker-compose.yml");
    writeFileSync(broken, "services:\n  hourglass:\n    image: hourglass:1\n    restarts: always\n");
    expect(lintCompose(broken).join()).toContain("invalid-schema");
  });

  test("starts Hourglass when both stores are ready, and all of them again after a crash", () => {
    expect(hourglass.depends_on).toEqual({
      mysql: { condition: "service_healthy" },
      redis: { condition: "service_healthy" },
    });
    for (const service of [mysql, redis]) expect(service.healthcheck).toBeDefined();
    for (const service of [hourglass, mysql, redis]) expect(service.restart).toBe("unless-stopped");
  });

  test("has a Redis that keeps what it is given", () => {
    const command = redis.command?.join(" ");
    for (const part of ["--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction"]) {
      expect(command).toContain(part);
    }
    expect(command).not.toMatch(/--maxmemory /);
  });

  test("keeps all data in named volumes, and opens ports to this machine alone, and none of a store", () => {
    const all = [hourglass, mysql, redis, kafka, prometheus, grafana];
    const used = all.flatMap((service) => service.volumes.map((v) => v.split(":")[0]!));
    expect(used.filter((name) => !name.startsWith("./")).sort()).toEqual(Object.keys(file.volumes).sort());
    const ports = all.flatMap((service) => service.ports ?? []);
    expect(ports).toEqual(["127.0.0.1:7777:7777", "127.0.0.1:9090:9090", "127.0.0.1:3000:3000"]);
    expect(mysql.ports ?? redis.ports).toBeUndefined();
  });

  test("gives Hourglass the address and the password that MySQL has", () => {
    const { MYSQL_USER, MYSQL_PASSWORD, MYSQL_DATABASE } = mysql.environment;
    const address = `mysql://${MYSQL_USER}:${MYSQL_PASSWORD}@mysql:3306/${MYSQL_DATABASE}`;
    expect(hourglass.environment["MYSQL_URL"]).toBe(address);
    expect(hourglass.environment["REDIS_URL"]).toBe("redis://redis:6379");
  });
});

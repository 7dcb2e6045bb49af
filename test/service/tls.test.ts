/**
 * TLS between clients and the service, and between it and its stores: what is meant to be encrypted is never sent in
 * the clear, and a peer without a valid certificate is refused.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConnection } from "mysql2/promise";
import { createClient } from "redis";
import { type Certificates, makeCertificates } from "../harness/servers/certificates.ts";
import { freePort } from "../harness/servers/ports.ts";
import {
  describeWithServers,
  type MariaDbServer,
  type RedisServer,
  startMariaDb,
  startRedis,
} from "../harness/servers/servers.ts";
import { runCommand, startCommand } from "../harness/service/command.ts";
import { ask } from "../harness/service/http-connection.ts";
import { type Service, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const AT = Date.UTC(2026, 0, 31, 12, 30);
const EVENT = `/analytics?timestamp=${AT}&user=ann&click`;

let certificates: Certificates;
beforeAll(async () => {
  certificates = await makeCertificates();
});
afterAll(() => certificates.delete());

/** Trusting this authority alone. */
function fetchBy(caFile: string, url: string, method = "GET"): Promise<Response> {
  return fetch(url, { method, tls: { ca: readFileSync(caFile, "utf8") } });
}

describe("HTTPS", () => {
  let service: Service;
  let settings: Record<string, string>;
  let url: string;

  beforeAll(async () => {
    const { certFile, keyFile, caFile } = certificates;
    settings = { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile };
    service = await startService({ settings, caFile });
    url = `https://localhost:${service.port}`;
  });
  afterAll(() => service.stop());

  test("an import that does not accept the certificate says what to do, and does not retry", async () => {
    const folder = mkdtempSync(join(tmpdir(), "hourglass-tls-"));
    try {
      const path = join(folder, "a.csv");
      writeFileSync(path, `timestamp,user,event\n${AT},ann,click\n`);
      const own = { ...settings, PORT: String(service.port), DATA_DIR: folder };
      const run = (more: Record<string, string>, ...args: string[]) =>
        runCommand({ ...own, ...more }, "import", "--stream", "certified", ...args, path);
      // Were it to retry, it would take longer than the test may.
      const refused = await run({}, "--retry-for", "999999");
      expect(refused.exitCode).toBe(2);
      expect(refused.errors).toContain(`the certificate of https://127.0.0.1:${service.port} is not accepted (`);
      expect(refused.errors).toContain("use --url https://NAME:PORT");
      expect(refused.errors).not.toMatch(/verbose|Retrying/);
      const accepted = await run({ NODE_EXTRA_CA_CERTS: certificates.caFile }, "--url", url);
      expect(accepted).toMatchObject({ exitCode: 0, output: expect.stringContaining("1 event accepted, ") });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test("counts and answers, with the certificate that it was given", async () => {
    const { caFile } = certificates;
    expect((await fetchBy(caFile, url + EVENT, "POST")).status).toBe(204);
    const hour = await fetchBy(caFile, `${url}/analytics?timestamp=${AT}`);
    expect(await hour.text()).toBe("unique_users,1\nclicks,1\nimpressions,0\n");
    expect(service.log()).toContain(`listening on  https://127.0.0.1:${service.port}`);
  });

  test("is refused by clients that do not trust its issuer", async () => {
    expect(fetchBy(certificates.strangeCaFile, `${url}/livez`)).rejects.toThrow();
    expect(fetch(`${url}/livez`)).rejects.toThrow();
  });

  test("answers no plain HTTP", async () => {
    const plain = ask(service.port, { method: "GET", target: "/livez" }).then(({ status }) => status);
    expect(await plain.catch(() => "no answer")).not.toBe(200);
  });

  test("the healthcheck works over HTTPS", async () => {
    const { exitCode, output } = await runCommand({ ...settings, PORT: String(service.port) }, "healthcheck");
    expect([exitCode, JSON.parse(output).status]).toEqual([0, "ready"]);
  });

  test("a file that is no certificate, or not its key, keeps it from starting, and says why", async () => {
    const { certFile, keyFile, caFile } = certificates;
    const noPem = join(service.dataDir, "..", "no.pem");
    writeFileSync(noPem, "nothing of the kind");
    const otherKey = join(service.dataDir, "..", "other.pem");
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    writeFileSync(otherKey, privateKey.export({ type: "pkcs8", format: "pem" }));
    const faults: readonly (readonly [Record<string, string>, string])[] = [
      [{ TLS_CERT_FILE: certFile }, "TLS_KEY_FILE is not"],
      [{ TLS_KEY_FILE: keyFile }, "TLS_CERT_FILE is not"],
      [{ TLS_CERT_FILE: `${certFile}.gone`, TLS_KEY_FILE: keyFile }, "TLS_CERT_FILE is"],
      [{ TLS_CERT_FILE: certFile, TLS_KEY_FILE: noPem }, "TLS_KEY_FILE is"],
      [{ TLS_CERT_FILE: caFile, TLS_KEY_FILE: keyFile }, `Cannot use the certificate '${caFile}' (TLS_CERT_FILE)`],
      [
        { TLS_CERT_FILE: certFile, TLS_KEY_FILE: otherKey },
        `TLS_KEY_FILE is '${otherKey}', which is not the key of the certificate '${certFile}'`,
      ],
      [{ TLS_CERT_FILE: certFile, TLS_KEY_FILE: certFile }, `with the key '${certFile}' (TLS_KEY_FILE)`],
    ];
    for (const [files, said] of faults) {
      const data = { PORT: String(await freePort()), DATA_DIR: join(service.dataDir, "..", "other") };
      const { exitCode, errors } = await startCommand({ ...data, ...files }, ["serve"]).result;
      expect([files, exitCode]).toEqual([files, 2]);
      expect(errors).toContain(said);
      expect(errors).not.toContain("PRIVATE");
      expect(errors).not.toContain("PORT");
    }
  });
});

describeWithServers("stores behind TLS", ["redis", "mariadb"], () => {
  let redis: RedisServer;
  let mariaDb: MariaDbServer;
  let redisTlsPort: number;

  beforeAll(async () => {
    const { caFile, certFile, keyFile } = certificates;
    redisTlsPort = await freePort();
    const redisTls = ["--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", caFile];
    const args = ["--tls-port", String(redisTlsPort), ...redisTls, "--tls-auth-clients", "no"];
    const mariaTls = [`--ssl-ca=${caFile}`, `--ssl-cert=${certFile}`, `--ssl-key=${keyFile}`];
    [redis, mariaDb] = await Promise.all([startRedis({ args }), startMariaDb({ args: mariaTls })]);
  });
  afterAll(() => Promise.all([redis.stop(), mariaDb.stop()]));

  const tlsSettings = (host = "localhost") => ({
    REDIS_URL: `rediss://${host}:${redisTlsPort}`,
    REDIS_CA_FILE: certificates.caFile,
    MYSQL_URL: `mysql://root@${host}:${mariaDb.port}/hourglass`,
    MYSQL_TLS: "1",
    MYSQL_CA_FILE: certificates.caFile,
  });

  for (const host of ["localhost", "127.0.0.1"]) {
    test(`are talked to by TLS, at ${host}`, async () => {
      const service = await startService({ settings: { ...tlsSettings(host), ADDRESS_LIMIT: "1000/s" } });
      try {
        expect((await fetch(service.url + EVENT, { method: "POST" })).status).toBe(204);
        const redisClient = createClient({ url: redis.url });
        await redisClient.connect();
        const clients = await redisClient.sendCommand(["CLIENT", "LIST"]);
        redisClient.destroy();
        // Its own is the only one in the clear.
        const plain = String(clients)
          .split("\n")
          .filter((line) => line.includes(`laddr=127.0.0.1:${redis.port} `));
        expect(plain).toHaveLength(1);
        const mysql = await createConnection(mariaDb.url);
        const query = "SHOW GLOBAL STATUS LIKE 'Ssl_finished_accepts'";
        const [rows] = await mysql.query(query);
        await mysql.end();
        expect(Number((rows as unknown as { Value: string }[])[0]!.Value)).toBeGreaterThan(0);
        await drained(service);
      } finally {
        await service.stop();
      }
    });
  }

  test("a store with a certificate for another host is treated as unavailable", async () => {
    const { strangeCaFile } = certificates;
    const settings = { ...tlsSettings(), MYSQL_CA_FILE: strangeCaFile };
    const service = await startService({ settings });
    try {
      // Redis is there, and so events are taken; MySQL is not talked to.
      expect((await fetch(service.url + EVENT, { method: "POST" })).status).toBe(204);
      const failing = await waitFor("the flusher to fail", async () => {
        const { flusher } = (await (await fetch(`${service.url}/readyz`)).json()) as {
          flusher: { status: string; error?: string };
        };
        return flusher.status === "failing" && flusher;
      });
      expect(failing.error).toMatch(/certificate|self.signed|issuer/i);
    } finally {
      await service.stop();
    }
    const noRedis = { ...tlsSettings(), REDIS_CA_FILE: strangeCaFile };
    const other = await startService({ settings: noRedis, readyPath: "/livez" });
    try {
      expect((await fetch(other.url + EVENT, { method: "POST" })).status).toBe(503);
    } finally {
      await other.stop();
    }
  });

  test("a certificate that is good, but for another name, is accepted only with MYSQL_TLS_ANY_HOST", async () => {
    const { caFile, otherCertFile, keyFile } = certificates;
    const tlsPort = await freePort();
    const redisTls = ["--tls-cert-file", otherCertFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", caFile];
    const args = ["--tls-port", String(tlsPort), ...redisTls, "--tls-auth-clients", "no"];
    const mariaTls = [`--ssl-ca=${caFile}`, `--ssl-cert=${otherCertFile}`, `--ssl-key=${keyFile}`];
    const [otherRedis, otherMariaDb] = await Promise.all([startRedis({ args }), startMariaDb({ args: mariaTls })]);
    try {
      const mysqlUrl = `mysql://root@localhost:${otherMariaDb.port}/hourglass`;
      const listed = await runCommand({ ...tlsSettings(), MYSQL_URL: mysqlUrl }, "keys", "list");
      expect([listed.exitCode, listed.output]).toEqual([2, ""]);
      const anyHost = { ...tlsSettings(), MYSQL_URL: mysqlUrl, MYSQL_TLS_ANY_HOST: "1" };
      const accepted = await runCommand(anyHost, "keys", "list");
      expect([accepted.exitCode, accepted.errors]).toEqual([0, ""]);
      const strange = { ...anyHost, MYSQL_CA_FILE: certificates.strangeCaFile };
      expect((await runCommand(strange, "keys", "list")).exitCode).toBe(2);
      const settings = { ...tlsSettings(), REDIS_URL: `rediss://localhost:${tlsPort}` };
      const service = await startService({ settings, readyPath: "/livez" });
      try {
        expect((await fetch(service.url + EVENT, { method: "POST" })).status).toBe(503);
      } finally {
        await service.stop();
      }
    } finally {
      await Promise.all([otherRedis.stop(), otherMariaDb.stop()]);
    }
  });

  test("commands talk to them in the same way", async () => {
    const made = await runCommand(tlsSettings(), "keys", "create", "--name", "a", "--scope", "write");
    expect([made.errors, made.exitCode]).toEqual(["", 0]);
    const wrong = { ...tlsSettings(), MYSQL_CA_FILE: certificates.strangeCaFile };
    expect((await runCommand(wrong, "keys", "list")).exitCode).toBe(2);
  });

  async function drained({ url }: Service): Promise<void> {
    await waitFor("nothing to be pending", async () => {
      const { instance } = (await (await fetch(`${url}/ledger`)).json()) as { instance: { pending: number } };
      return instance.pending === 0;
    });
  }
});

/**
 * `hourglass import` of logs of nginx, Apache and Caddy about odd requests: each request that the server itself counted
 * becomes one event, whatever the format of the log.
 */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { join } from "node:path";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { runCommand } from "../harness/service/command.ts";
import { type Service, startService } from "../harness/service/service.ts";
import { sqliteView } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";
import { ADDRESSES, oddConversations } from "../harness/web/odd-requests.ts";
import { type Log, startWebServer, WEB_PROGRAMS, type WebServer } from "../harness/web/web-servers.ts";

const REQUESTS = 20_000;
const TEST_TIMEOUT_MS = 300_000;
const SLOWLY = { timeoutMs: 120_000, intervalMs: 100 };

describeWithServers("logs of web servers", ["web"], () => {
  let service: Service;
  let server: WebServer | undefined;

  beforeEach(async () => {
    service = await startService();
  });
  afterEach(async () => {
    await server?.stop();
    await service.stop();
  });

  /** Imports the log into a stream of its name, again until it has that many requests. */
  async function importLog(log: Log, requestCount: number): Promise<void> {
    const settings = { PORT: String(service.port), DATA_DIR: service.dataDir };
    const args = ["import", "--json", "--stream", log.file, ...log.options, server!.path(log)];
    let accepted = 0;
    const importMore = async () => {
      const { output, exitCode, errors } = await runCommand(settings, ...args);
      if (exitCode !== 0) throw new Error(errors);
      accepted += JSON.parse(output).accepted;
      return accepted >= requestCount;
    };
    await waitFor(`${requestCount} requests in ${log.file}`, importMore, SLOWLY);
    expect(accepted).toBe(requestCount);
  }

  for (const program of WEB_PROGRAMS) {
    test(
      `each request that ${program.name} counted is one event of its client`,
      async () => {
        const random = new Random(seedFor(`logs of ${program.name}`));
        server = await startWebServer(program);
        await server.converse(oddConversations(random), REQUESTS);
        const requestCount = await server.count();
        for (const log of program.logs) await importLog(log, requestCount);
        const cold = sqliteView(() => join(service.dataDir, "cold.sqlite"));
        const total = requestCount * program.logs.length;
        await waitFor(`${total} rows`, async () => (await cold.countEvents()) === total, SLOWLY);
        const events = Map.groupBy(await cold.events(), ({ stream }) => stream);
        const users = new Set(Array.from(events.values()).flatMap((each) => each.map(({ user }) => user)));
        expect([...users].filter((user) => !ADDRESSES.has(user))).toEqual([]);
        const alike = program.logs
          .filter(({ hasReferrer }) => hasReferrer)
          .map(({ file }) =>
            events
              .get(file)!
              .map(({ user, kind }) => `${user} ${kind}`)
              .sort(),
          );
        expect(new Set(alike[0]!.map((text) => text.split(" ")[1]))).toEqual(new Set(["click", "impression"]));
        for (const other of alike) expect(other).toEqual(alike[0]!);
      },
      TEST_TIMEOUT_MS,
    );
  }
});

/** A queue of a real RabbitMQ as intake: the contract of all brokers, and specifics of RabbitMQ. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createServer, type Socket } from "node:net";
import { type RabbitMqServer, startRabbitMq } from "../../harness/brokers/rabbitmq.ts";
import { openBrowser } from "../../harness/browser/chromium.ts";
import { Page } from "../../harness/browser/page.ts";
import { type Certificates, makeCertificates } from "../../harness/servers/certificates.ts";
import { freePort } from "../../harness/servers/ports.ts";
import { scrape } from "../../harness/servers/prometheus.ts";
import { describeWithServers } from "../../harness/servers/servers.ts";
import { startProxy, type TcpProxy } from "../../harness/servers/tcp-proxy.ts";
import { readHour } from "../../harness/service/analytics-client.ts";
import { MODES, type Service, type Site, startService } from "../../harness/service/service.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { longGroup } from "../../harness/tiers.ts";
import { message, type OutgoingMessage, type QueueBroker, queueContracts } from "./queue-contract.ts";
import {
  disposable,
  event,
  HOUR,
  idsOf,
  isConsuming,
  ledgerOf,
  messagesOf,
  readyz,
  rowsOf,
  SETTINGS,
  SLOWLY,
  type SourceReport,
  sourceOf,
} from "./queue-site.ts";
import { tlsContract } from "./tls-contract.ts";

let broker: RabbitMqServer;
let certificates: Certificates;

describeWithServers("rabbitmq", ["rabbitmq"], () => {
  beforeAll(async () => {
    certificates = await makeCertificates();
    broker = await startRabbitMq(certificates);
  });
  afterAll(async () => {
    await broker.stop();
    certificates.delete();
  });

  for (const mode of MODES) {
    const group = `rabbitmq, ${mode.name}`;
    // With Redis and MySQL the contract has all its tests, with the embedded stores some of them.
    describeWithServers(mode.name === "embedded" ? longGroup(group) : group, mode.needs, () => {
      queueContracts([mode], () => rabbitMqBroker(broker));
    });
  }
  tlsContract(() => ({
    ...{ broker: rabbitMqBroker(broker), certificates },
    urlOf: (host) => `amqps://guest:guest@${host}:${broker.securePort}`,
  }));
  describe("a queue of RabbitMQ", messageIds);
  describe("a queue of RabbitMQ, at the start", whileStarting);
  describeWithServers("a queue of RabbitMQ, behind", ["redis", "mariadb", "chromium"], lag);
});

function rabbitMqBroker(server: RabbitMqServer): QueueBroker {
  return {
    source: "rabbitmq",
    server,
    settings: (queue) => ({ BROKER_URL: server.url, BROKER_QUEUE: queue }),
    declare: (queue) => server.declare(queue),
    publish: async (queue, messages) => {
      await publish(queue, ...messages);
      return messages.map(({ id }) => id ?? "");
    },
    left: (queue) => server.depth(queue),
  };
}

async function publish(queue: string, ...messages: OutgoingMessage[]): Promise<void> {
  const outgoing = messages.map(({ body, contentType, contentEncoding, id: messageId }) => ({
    body,
    options: {
      ...(contentType !== undefined && { contentType }),
      ...(contentEncoding !== undefined && { contentEncoding }),
      ...(messageId !== undefined && { messageId }),
    },
  }));
  await broker.publish(queue, outgoing);
}

const acknowledged = (service: Service) => messagesOf(service, "rabbitmq", "acknowledged");

function messageIds(): void {
  const [queue, dead] = ["named", "named.dead"];
  let site: Site;
  let service: Service;
  let proxy: TcpProxy;

  beforeAll(async () => {
    await broker.declare(dead);
    await broker.declare(queue, { deadLetterExchange: "", deadLetterRoutingKey: dead });
    [site, proxy] = await Promise.all([MODES[0]!.open(), startProxy(broker.port)]);
    const url = `amqp://guest:guest@127.0.0.1:${proxy.port}`;
    service = await site.start({ ...SETTINGS, BROKER_URL: url, BROKER_QUEUE: queue });
    await isConsuming(service);
  });
  afterAll(async () => {
    await site.close();
    await proxy.close();
  });

  test("counts a message once under its message id", async () => {
    const pair = [message(event("ids", "a"), "one"), message([event("ids", "b"), event("ids", "c")], "two")];
    await publish(queue, ...pair, ...pair);
    await waitFor("all four", async () => (await acknowledged(service)) === 4, SLOWLY);
    expect(await rowsOf(site, "ids", 3)).toEqual(["one", "two#0", "two#1"]);
    expect(await ledgerOf(service)).toMatchObject({ duplicates: 3, holds: true });
  });

  test("counts once what was stored, and not acknowledged before the connection was lost", async () => {
    const { duplicates } = await ledgerOf(service);
    proxy.onUpstream = () => false;
    const some = Array.from({ length: 20 }, (_, i) => message(event("cut", `u${i}`), `cut-${i}`));
    await publish(queue, ...some);
    await rowsOf(site, "cut", 20);
    proxy.onUpstream = undefined;
    proxy.cutAll();
    await waitFor("duplicates", async () => (await ledgerOf(service)).duplicates === duplicates + 20, SLOWLY);
    expect(await messagesOf(service, "rabbitmq", "redelivered")).toBeGreaterThanOrEqual(20);
    expect(await idsOf(site, "cut")).toHaveLength(20);
    await waitFor("all to be settled", async () => (await sourceOf(service)).under_way === 0);
    expect(await broker.depth(queue)).toBe(0);
  });

  test("passes on what can't be counted to the queue's dead-letter exchange", async () => {
    const typed = JSON.stringify(event("dead", "x"));
    await publish(queue, message("nonsense", "torn"), message(typed, "typed", "text/plain"));
    await waitFor("dead letters", async () => (await broker.depth(dead)) >= 2, SLOWLY);
    expect((await broker.drain(dead)).sort()).toEqual(["nonsense", typed]);
  });
}

function lag(): void {
  test("reports its backlog in /readyz, in the metrics and on the dashboard", async () => {
    const browser = openBrowser();
    const site = await MODES.find(({ name }) => name === "redis+mysql")!.open();
    try {
      await broker.declare("behind");
      const settings = { BROKER_URL: broker.url, BROKER_QUEUE: "behind", BROKER_PREFETCH: "10" };
      const service = await site.start({ ...SETTINGS, ...settings });
      await isConsuming(service);
      await site.servers!.redis.kill();
      await waitFor("that to be noticed", async () => (await readyz(service)).status === 503, SLOWLY);
      await publish("behind", ...Array.from({ length: 300 }, (_, i) => message(event("behind", `u${i}`), `b-${i}`)));
      const isLag = (waiting: number) => async () => {
        expect((await sourceOf(service)).lags).toEqual([{ lag: waiting }]);
        return true;
      };
      await waitFor("the lag", isLag(290), SLOWLY);
      expect((await scrape(service.port)).get('hourglass_source_lag{source="rabbitmq"}')).toBe(290);
      const page = await Page.open(browser);
      await page.goTo(service.url);
      await page.waitForText("#sources", (text) =>
        /RabbitMQ queue\s+290 waiting: the hot store does not answer/.test(text),
      );
      await site.servers!.redis.start();
      await waitFor("no lag", isLag(0), SLOWLY);
      await page.waitForText("#sources", (text) => /RabbitMQ queue\s+0 waiting/.test(text));
      expect(page.faults).toEqual([]);
    } finally {
      browser.close();
      await site.close();
    }
  });
}

function whileStarting(): void {
  function startOn(url: string, queue: string) {
    return startService({ settings: { ...SETTINGS, BROKER_URL: url, BROKER_QUEUE: queue } }).then(disposable);
  }

  function reasonOf(service: Service, part: string): Promise<SourceReport> {
    return waitFor(part, async () => {
      const source = await sourceOf(service);
      if (source.reason?.includes(part)) return source;
      throw new Error(source.reason ?? source.status);
    });
  }

  test("that is not there yet is waited for", async () => {
    await using started = await startOn(broker.url, "later");
    await reasonOf(started.service, "NOT_FOUND");
    await broker.declare("later");
    await isConsuming(started.service);
    await broker.delete("later");
    await reasonOf(started.service, "is the queue gone?");
  });

  test("that is a quorum queue is consumed as any other, also after kill -9", async () => {
    await broker.declare("quorum", { arguments: { "x-queue-type": "quorum" } });
    await using started = await startOn(broker.url, "quorum");
    const { service } = started;
    const messages = Array.from({ length: 3_000 }, (_, i) => message(event("quorum", `u${i}`), `q-${i}`));
    const publishing = publish("quorum", ...messages);
    await waitFor("some", async () => (await readHour(service.port, HOUR, "quorum")).clicks > 300, SLOWLY);
    await service.restart("SIGKILL");
    await publishing;
    await waitFor("all", async () => (await readHour(service.port, HOUR, "quorum")).clicks >= 3_000, SLOWLY);
    await waitFor("all to be settled", async () => (await sourceOf(service)).under_way === 0);
    await service.kill("SIGTERM");
    expect(await broker.depth("quorum")).toBe(0);
    await service.start();
    expect((await readHour(service.port, HOUR, "quorum")).clicks).toBe(3_000);
  });

  test("that is a stream is refused, since what came while nobody consumed it would be lost", async () => {
    await broker.declare("stream", { arguments: { "x-queue-type": "stream" } });
    await using started = await startOn(broker.url, "stream");
    await isConsuming(started.service);
    await publish("stream", message(event("s", "a"), "a"));
    await reasonOf(started.service, "the queue is a stream");
    expect(await acknowledged(started.service)).toBe(0);
  });

  test("with a wrong password says so without showing it", async () => {
    const url = `amqp://guest:hunter2@127.0.0.1:${broker.port}/`;
    await using started = await startOn(url, "later");
    const { service } = started;
    await reasonOf(service, "ACCESS_REFUSED");
    const seen = [service.log(), JSON.stringify(await readyz(service)), String([...(await scrape(service.port))])];
    for (const text of seen) expect(text).not.toContain("hunter2");
    expect(service.log()).toContain(`queue later of amqp://127.0.0.1:${broker.port}`);
  });

  test("of a broker that hangs up at once is tried again after pauses that grow, one try at a time", async () => {
    const port = await freePort();
    const triedMs: number[] = [];
    const open = new Set<Socket>();
    let most = 0;
    const hangUp = createServer((socket) => {
      triedMs.push(performance.now());
      open.add(socket);
      most = Math.max(most, open.size);
      socket.on("error", () => {});
      socket.on("close", () => open.delete(socket));
      socket.once("data", () => socket.destroy());
    }).listen(port, "127.0.0.1");
    try {
      await using started = await startOn(`amqp://127.0.0.1:${port}`, "events");
      await waitFor("some tries", () => triedMs.length >= 5, SLOWLY);
      expect(most).toBe(1);
      // With jitter: half to all of 100 ms, 200 ms, 400 ms, 800 ms; this process may see the first of them late.
      expect(triedMs[4]! - triedMs[0]!).toBeGreaterThan(600);
      expect((await readyz(started.service)).status).toBe(200);
      await started.service.kill("SIGTERM");
      expect(started.service.exitCode).toBe(0);
    } finally {
      hangUp.close();
    }
  });
}

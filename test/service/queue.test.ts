/**
 * A queue of RabbitMQ as intake, on a real broker. Invariant checked: each event of each message is one row and one
 * count, or set aside once with its reason; whatever is not settled goes back to the queue.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createServer, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { hourOf } from "../../src/domain/event.ts";
import type { StoredPoison } from "../../src/store/cold/poison-store.ts";
import { freePort } from "../harness/servers/ports.ts";
import { scrape } from "../harness/servers/prometheus.ts";
import { type OutgoingMessage, type RabbitMqServer, startRabbitMq } from "../harness/servers/rabbitmq.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { startProxy, type TcpProxy } from "../harness/servers/tcp-proxy.ts";
import { postEvent, readHour } from "../harness/service/analytics-client.ts";
import { runCommand } from "../harness/service/command.ts";
import { ask } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

setDefaultTimeout(180_000);

const HOUR = hourOf(Date.now());
const JSON_TYPE = "application/json";
const NDJSON_TYPE = "application/x-ndjson";
const SLOWLY = { timeoutMs: 60_000 };
const SETTINGS = { FLUSH_INTERVAL_MS: "20", LEASE_MS: "1000" };

interface SourceReport {
  readonly name: string;
  readonly status: string;
  readonly reason?: string;
  readonly underWay: number;
}

async function readyz(service: Service): Promise<{ status: number; sources: SourceReport[] }> {
  const { status, body } = await ask(service.port, { method: "GET", target: "/readyz" });
  const { sources } = JSON.parse(body) as { sources: SourceReport[] };
  return { status, sources };
}

async function sourceOf(service: Service): Promise<SourceReport> {
  return (await readyz(service)).sources[0]!;
}

function isConsuming(service: Service): Promise<true> {
  return waitFor("the queue to be consumed", async () => (await sourceOf(service)).status === "consuming", SLOWLY);
}

interface InstanceLedger {
  readonly duplicates: number;
  readonly holds: boolean;
  readonly refused: Readonly<Record<string, number>>;
}

async function ledgerOf(service: Service): Promise<InstanceLedger> {
  const { body } = await ask(service.port, { method: "GET", target: "/ledger" });
  return (JSON.parse(body) as { instance: InstanceLedger }).instance;
}

/** Messages that this process of the service has had, by what became of them. */
async function messagesOf(service: Service, outcome: string): Promise<number> {
  const samples = await scrape(service.port);
  return samples.get(`hourglass_source_messages_total{source="amqp",outcome="${outcome}"}`)!;
}

function event(stream: string, user: string, more: object = {}) {
  return { timestamp: HOUR + 1, user, event: "click", stream, ...more };
}

function message(body: unknown, messageId?: string, contentType = JSON_TYPE): OutgoingMessage {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return { body: text, options: { contentType, ...(messageId !== undefined && { messageId }) } };
}

let broker: RabbitMqServer;

describeWithServers("rabbitmq", ["rabbitmq"], () => {
  beforeAll(async () => {
    broker = await startRabbitMq();
  });
  afterAll(() => broker.stop());

  for (const { name, needs, open } of MODES) {
    describeWithServers(`a queue, ${name}`, needs, () => consume(name, open));
  }
  describe("a queue, at the start", whileStarting);
});

function consume(mode: string, open: () => Promise<Site>): void {
  const queue = `events ${mode}`;
  const dead = `${queue}.dead`;
  let site: Site;
  let service: Service;
  let proxy: TcpProxy;

  beforeAll(async () => {
    await broker.declare(dead);
    await broker.declare(queue, { deadLetterExchange: "", deadLetterRoutingKey: dead });
    [site, proxy] = await Promise.all([open(), startProxy(broker.port)]);
    const url = `amqp://guest:guest@127.0.0.1:${proxy.port}`;
    service = await site.start({ ...SETTINGS, AMQP_URL: url, AMQP_QUEUE: queue, AMQP_PREFETCH: "500" });
    await isConsuming(service);
  });
  afterAll(async () => {
    await site.close();
    await proxy.close();
  });

  async function idsOf(stream: string): Promise<(string | null)[]> {
    const rows = (await site.cold.events()).filter((row) => row.stream === stream);
    return rows.map(({ id }) => id).sort();
  }

  async function rowsOf(stream: string, count: number): Promise<(string | null)[]> {
    return await waitFor(
      `${count} rows of ${stream}`,
      async () => {
        const ids = await idsOf(stream);
        if (ids.length < count) throw new Error(`${ids.length} rows`);
        return ids;
      },
      SLOWLY,
    );
  }

  async function poison(...args: string[]) {
    const settings = { ...site.commandSettings(service), PORT: String(service.port) };
    return await runCommand(settings, "poison", ...args);
  }

  async function poisonPieces(): Promise<StoredPoison[]> {
    const { output } = await poison("list", "--json");
    const lines = output.split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line) as StoredPoison);
  }

  function untilSettled(outcome: string, count: number): Promise<boolean> {
    return waitFor(`${count} ${outcome}`, async () => (await messagesOf(service, outcome)) >= count, SLOWLY);
  }

  const forms = (): OutgoingMessage[] => {
    const lines = [event("forms", "d"), event("forms", "e", { event: "impression" })];
    const packed = gzipSync(lines.map((line) => JSON.stringify(line)).join("\n"));
    return [
      message(event("forms", "a"), "one"),
      { body: JSON.stringify(event("forms", "b"), null, 2), options: { messageId: "untyped" } },
      message([event("forms", "c"), event("forms", "c", { id: "its own" })], "two"),
      {
        body: packed,
        options: { contentType: NDJSON_TYPE, contentEncoding: "gzip", messageId: "lines" },
      },
      message([event("forms", "f", { id: "named" })]),
    ];
  };
  const FORM_IDS = ["its own", "lines#0", "lines#1", "named", "one", "two#0", "untyped"];

  test("is counted in each form that POST /events takes, and acknowledged", async () => {
    await broker.publish(queue, forms());
    expect(await rowsOf("forms", FORM_IDS.length)).toEqual(FORM_IDS);
    expect(await readHour(service.port, HOUR, "forms")).toEqual({
      uniqueUsers: 6,
      clicks: 6,
      impressions: 1,
    });
    await untilSettled("acknowledged", 5);
    expect(await sourceOf(service)).toEqual({ name: "amqp", status: "consuming", underWay: 0 });
    expect(await ledgerOf(service)).toMatchObject({ duplicates: 0, holds: true });
    expect((await scrape(service.port)).get('hourglass_source_consuming{source="amqp"}')).toBe(1);
  });

  test("counts once what comes again under its id, from the queue or over HTTP", async () => {
    const acknowledged = await messagesOf(service, "acknowledged");
    await broker.publish(queue, forms());
    await untilSettled("acknowledged", acknowledged + 5);
    await postEvent(service.port, { at: HOUR + 1, user: "a", kind: "click", stream: "forms", id: "one" });
    expect(await ledgerOf(service)).toMatchObject({ duplicates: FORM_IDS.length + 1, holds: true });
    await broker.publish(queue, [message(event("forms", "z"), "last")]);
    expect(await rowsOf("forms", FORM_IDS.length + 1)).toHaveLength(FORM_IDS.length + 1);
  });

  test("counts once what was stored, and not acknowledged before the connection was lost", async () => {
    const { duplicates } = await ledgerOf(service);
    proxy.onUpstream = () => false;
    const some = Array.from({ length: 20 }, (_, i) => message(event("cut", `u${i}`), `cut-${i}`));
    await broker.publish(queue, some);
    await rowsOf("cut", 20);
    proxy.onUpstream = undefined;
    proxy.cutAll();
    await waitFor("duplicates", async () => (await ledgerOf(service)).duplicates === duplicates + 20, SLOWLY);
    expect(await messagesOf(service, "redelivered")).toBeGreaterThanOrEqual(20);
    expect(await idsOf("cut")).toHaveLength(20);
    await waitFor("all to be settled", async () => (await sourceOf(service)).underWay === 0);
    expect(await broker.depth(queue)).toBe(0);
  });

  test("sets aside once what can't be counted, and counts what is beside it", async () => {
    const mixed = message([event("mixed", "a"), event("mixed", ""), event("mixed", "c")], "mixed");
    const hopeless = [message("nonsense", "torn"), message(event("mixed", "x"), "typed", "text/plain")];
    const { refused } = await ledgerOf(service);
    await broker.publish(queue, [mixed, ...hopeless]);
    await untilSettled("rejected", 2);
    // Stored and set aside, it comes again; and so it does under a new delivery.
    await broker.publish(queue, [mixed, hopeless[0]!]);
    await untilSettled("rejected", 3);
    await waitFor("all to be settled", async () => (await sourceOf(service)).underWay === 0);
    expect(await rowsOf("mixed", 2)).toEqual(["mixed#0", "mixed#2"]);
    expect((await ledgerOf(service)).refused["invalid"]).toBe(refused["invalid"]! + 5);

    const pieces = await poisonPieces();
    const told = pieces.map(({ messageId, position, eventId, body }) => ({
      messageId,
      position,
      eventId,
      body,
    }));
    expect(told.sort((a, b) => (a.messageId! < b.messageId! ? -1 : 1))).toEqual([
      { messageId: "mixed", position: 1, eventId: "mixed#1", body: JSON.stringify(event("mixed", "")) },
      { messageId: "torn", position: 0, eventId: "torn", body: "nonsense" },
      {
        messageId: "typed",
        position: undefined,
        eventId: undefined,
        body: JSON.stringify(event("mixed", "x")),
      },
    ]);
    expect(pieces.find(({ messageId }) => messageId === "mixed")!.reason).toContain("user: got");
    // Those of which nothing counts are passed on by the broker as well.
    await waitFor("dead letters", async () => (await broker.depth(dead)) >= 3);
    expect((await broker.drain(dead)).sort()).toEqual(["nonsense", "nonsense", JSON.stringify(event("mixed", "x"))]);

    expect((await poison("list")).output).toContain('event 1 of message "mixed"');
    expect(await poison("replay", "--all")).toMatchObject({ exitCode: 1 });
    expect(await poison("drop", "--all")).toMatchObject({ exitCode: 0, output: "3 dropped\n" });
    expect(await poisonPieces()).toEqual([]);
  });

  test("lets what was set aside be replayed once its reason is gone, and then it counts once", async () => {
    // More than a day ahead for two more seconds.
    const timestamp = Date.now() + 24 * 3_600_000 + 2_000;
    await broker.publish(queue, [message([event("early", "a", { timestamp })], "early")]);
    const [piece] = await waitFor("a piece", async () => {
      const pieces = await poisonPieces();
      return pieces.length > 0 && pieces;
    });
    expect(piece!.reason).toContain("timestamp");
    await waitFor("it to be taken", async () => (await poison("replay", String(piece!.number))).exitCode === 0);
    expect(await poisonPieces()).toEqual([]);
    expect(await rowsOf("early", 1)).toEqual(["early#0"]);
    await broker.publish(queue, [message([event("early", "a", { timestamp })], "early")]);
    await broker.publish(queue, [message(event("early", "b"), "later")]);
    expect(await rowsOf("early", 2)).toEqual(["early#0", "later"]);
  });

  test("at SIGTERM is settled or left, to a message: without ids nothing is lost or doubled", async () => {
    const count = 4_000;
    const some = Array.from({ length: count }, (_, i) => message(event("stop", `u${i}`)));
    const publishing = broker.publish(queue, some);
    await rowsOf("stop", 500);
    await service.kill("SIGTERM");
    expect(service.exitCode).toBe(0);
    await publishing;
    const rows = (await idsOf("stop")).length;
    await waitFor("the rest to go back", async () => {
      const left = await broker.depth(queue);
      if (rows + left !== count) throw new Error(`${rows} rows, and ${left} are left`);
      return true;
    });
    await service.start();
    expect(await rowsOf("stop", count)).toHaveLength(count);
    await isConsuming(service);
  });

  test("comes back by itself when the broker does, and the service runs on without it", async () => {
    await broker.publish(queue, [message(event("away", "a"), "before")]);
    await rowsOf("away", 1);
    await broker.kill();
    await waitFor("that to be noticed", async () => (await sourceOf(service)).status === "connecting");
    expect((await readyz(service)).status).toBe(200);
    await postEvent(service.port, {
      at: HOUR + 1,
      user: "b",
      kind: "click",
      stream: "away",
      id: "meanwhile",
    });
    expect((await scrape(service.port)).get('hourglass_source_consuming{source="amqp"}')).toBe(0);
    await broker.start();
    await isConsuming(service);
    await broker.publish(queue, [message(event("away", "c"), "after")]);
    expect(await rowsOf("away", 3)).toEqual(["after", "before", "meanwhile"]);
    const log = service.log();
    expect(log.split("not consuming, it will be tried until that ends").length - 1).toBeLessThanOrEqual(4);
  });

  if (mode === "embedded") return;

  test("is held while the hot store is away: nothing is lost or doubled, without ids", async () => {
    const { redis } = site.servers!;
    await redis.kill();
    await waitFor("that to be noticed", async () => (await readyz(service)).status === 503);
    const count = 200;
    const acknowledged = await messagesOf(service, "acknowledged");
    const redelivered = await messagesOf(service, "redelivered");
    await broker.publish(
      queue,
      Array.from({ length: count }, (_, i) => message(event("held", `u${i}`))),
    );
    const held = await waitFor("all to be held", async () => {
      const source = await sourceOf(service);
      return source.underWay === count && source;
    });
    expect(held).toMatchObject({ status: "paused", reason: "hot_store_away" });
    expect(await messagesOf(service, "acknowledged")).toBe(acknowledged);
    await redis.start();
    await rowsOf("held", count);
    await untilSettled("acknowledged", acknowledged + count);
    await broker.publish(queue, [message(event("held", "last"))]);
    expect(await rowsOf("held", count + 1)).toHaveLength(count + 1);
    expect(await messagesOf(service, "redelivered")).toBe(redelivered);
    await isConsuming(service);
  });

  test("is held by poison while the cold store is away, which is then set aside", async () => {
    const { mariaDb } = site.servers!;
    await mariaDb.kill();
    const rejected = await messagesOf(service, "rejected");
    await broker.publish(queue, [message("torn again", "torn-2"), message(event("cold", "a"), "cold")]);
    await waitFor("what can be counted to count", async () => {
      return (await readHour(service.port, HOUR, "cold")).clicks === 1;
    });
    const held = await waitFor("the poison to be held", async () => {
      const source = await sourceOf(service);
      return source.status === "paused" && source.underWay === 1 && source;
    });
    expect(held.reason).toBe("cold_store_away");
    await mariaDb.start();
    await untilSettled("rejected", rejected + 1);
    expect((await poisonPieces()).map(({ body }) => body)).toEqual(["torn again"]);
    await poison("drop", "--all");
  });

  test("is shared by all workers", async () => {
    const shared = `${queue}.shared`;
    await broker.declare(shared);
    await using workers = disposable(
      await site.start({ ...SETTINGS, WORKERS: "2", AMQP_URL: broker.url, AMQP_QUEUE: shared }),
    );
    await waitFor("two consumers", async () => (await broker.consumers(shared)) === 2, SLOWLY);
    await broker.publish(
      shared,
      Array.from({ length: 500 }, (_, i) => message(event("workers", `u${i}`), `w-${i}`)),
    );
    expect(await rowsOf("workers", 500)).toHaveLength(500);
    await workers.service.kill("SIGTERM");
    expect(workers.service.exitCode).toBe(0);
    expect(await broker.depth(shared)).toBe(0);
  });
}

function disposable(service: Service) {
  return { service, [Symbol.asyncDispose]: () => service.stop() };
}

function whileStarting(): void {
  function startOn(url: string, queue: string) {
    return startService({ settings: { ...SETTINGS, AMQP_URL: url, AMQP_QUEUE: queue } }).then(disposable);
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
    const publishing = broker.publish(
      "quorum",
      Array.from({ length: 3_000 }, (_, i) => message(event("quorum", `u${i}`), `q-${i}`)),
    );
    await waitFor("some", async () => (await readHour(service.port, HOUR, "quorum")).clicks > 300, SLOWLY);
    await service.restart("SIGKILL");
    await publishing;
    await waitFor("all", async () => (await readHour(service.port, HOUR, "quorum")).clicks >= 3_000, SLOWLY);
    await waitFor("all to be settled", async () => (await sourceOf(service)).underWay === 0);
    await service.kill("SIGTERM");
    expect(await broker.depth("quorum")).toBe(0);
    await service.start();
    expect((await readHour(service.port, HOUR, "quorum")).clicks).toBe(3_000);
  });

  test("that is a stream is refused, since what came while nobody consumed it would be lost", async () => {
    await broker.declare("stream", { arguments: { "x-queue-type": "stream" } });
    await using started = await startOn(broker.url, "stream");
    await isConsuming(started.service);
    await broker.publish("stream", [message(event("s", "a"), "a")]);
    await reasonOf(started.service, "the queue is a stream");
    expect(await messagesOf(started.service, "acknowledged")).toBe(0);
  });

  test("with a password that is wrong says so, and not which", async () => {
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
      // With jitter: half to all of 100 ms, 200 ms, 400 ms, 800 ms.
      for (let i = 1; i < 5; i++) expect(triedMs[i]! - triedMs[i - 1]!).toBeGreaterThan(45 * 2 ** (i - 1));
      expect((await readyz(started.service)).status).toBe(200);
      await started.service.kill("SIGTERM");
      expect(started.service.exitCode).toBe(0);
    } finally {
      hangUp.close();
    }
  });
}

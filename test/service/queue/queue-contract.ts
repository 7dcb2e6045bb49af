/**
 * The contract of every broker as intake, on a real one. Checked invariant: each event of each message is one row and
 * one count, or set aside once with its reason; unsettled messages are left to the broker.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import type { StoredPoison } from "../../../src/store/cold.ts";
import { scrape } from "../../harness/servers/prometheus.ts";
import type { ServerProcess } from "../../harness/servers/server-process.ts";
import { postEvent, readHour } from "../../harness/service/analytics-client.ts";
import type { Mode, Service, Site } from "../../harness/service/service.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import {
  disposable,
  event,
  HOUR,
  idsOf,
  isConsuming,
  lagOf,
  ledgerOf,
  messagesOf,
  poison,
  poisonPieces,
  readyz,
  rowsOf,
  SETTINGS,
  SLOWLY,
  sourceOf,
} from "./queue-site.ts";

export interface OutgoingMessage {
  readonly body: string | Buffer;
  readonly contentType?: string;
  readonly contentEncoding?: string;
  /** Kafka has none: there a message is named by its place. */
  readonly id?: string;
}

/** What a test needs of a broker, whatever its kind. */
export interface QueueBroker {
  /** The name in metrics and in /readyz. */
  readonly source: string;
  readonly server: ServerProcess;
  settings(queue: string): Readonly<Record<string, string>>;
  declare(queue: string): Promise<void>;
  /** Answers, once the broker has them, the names of the messages. */
  publish(queue: string, messages: readonly OutgoingMessage[]): Promise<string[]>;
  /** How many the broker would deliver to somebody else. */
  left(queue: string): Promise<number>;
}

const NDJSON_TYPE = "application/x-ndjson";
const EVENTS_IN_ONE = 10_000;
/** BROKER_PREFETCH of the service under test. */
export const PREFETCH = 500;

export function message(body: unknown, id?: string, contentType = "application/json"): OutgoingMessage {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return { body: text, contentType, ...(id !== undefined && { id }) };
}

function many(count: number, stream: string, prefix?: string): OutgoingMessage[] {
  return Array.from({ length: count }, (_, i) =>
    message(event(stream, `u${i}`), prefix === undefined ? undefined : `${prefix}-${i}`),
  );
}

type OutageTest = (name: string, body: () => Promise<void>) => void;

interface Consumption {
  readonly site: Site;
  /** Runs with PREFETCH. */
  readonly service: Service;
  readonly broker: QueueBroker;
  readonly queue: string;
}

/** More messages that need the cold store than may be in flight, and others behind them. */
export async function takenAfterOutage({ site, service, broker, queue }: Consumption, awayMs: number): Promise<void> {
  const { mariaDb } = site.servers!;
  const [stream, poisonous, good] = ["behind", 2 * PREFETCH, 100];
  const rejected = () => messagesOf(service, broker.source, "rejected");
  const rejectedBefore = await rejected();
  await mariaDb.kill();
  const downSinceMs = performance.now();
  const torn = Array.from({ length: poisonous }, (_, i) => message(`torn ${stream} ${i}`, `${stream}-torn-${i}`));
  await broker.publish(queue, [...torn, ...many(good, stream, stream)]);
  const isBehind = async () => {
    const source = await sourceOf(service);
    expect(source).toMatchObject({ status: "paused", reason: "cold_store_away" });
    // By AMQP 1.0 new credit is half of that.
    expect(source.under_way).toBeGreaterThan(PREFETCH / 2);
    if (source.lags !== undefined) expect(lagOf(source)).toBeGreaterThan(0);
    return performance.now() - downSinceMs >= awayMs;
  };
  await waitFor("messages to be held for so long", isBehind, { timeoutMs: awayMs + 60_000 });
  await mariaDb.start();
  await waitFor("all poison", async () => (await rejected()) === rejectedBefore + poisonous);
  expect(await rowsOf(site, stream, good)).toHaveLength(good);
  await waitFor("no lag", async () => {
    const source = await sourceOf(service);
    return source.under_way === 0 && lagOf(source) === 0;
  });
  expect(await poisonPieces(site, service)).toHaveLength(poisonous);
  await poison(site, service, "drop", "--all");
}

/** Tests of one group: they follow each other, on one service and one queue. */
function queueContract({ name, open }: Mode, broker: () => QueueBroker, outageTest: OutageTest): void {
  const queue = `events-${name.replace("+", "-")}`;
  let site: Site;
  let service: Service;

  beforeAll(async () => {
    await broker().declare(queue);
    site = await open();
    service = await site.start({ ...SETTINGS, ...broker().settings(queue), BROKER_PREFETCH: String(PREFETCH) });
    await isConsuming(service);
  });
  afterAll(() => site.close());

  const publish = (...messages: OutgoingMessage[]) => broker().publish(queue, messages);
  const counted = (outcome: string) => messagesOf(service, broker().source, outcome);

  async function untilSettled(outcome: string, count: number): Promise<void> {
    await waitFor(`${count} ${outcome}`, async () => (await counted(outcome)) >= count, SLOWLY);
  }

  async function untilIdle(): Promise<void> {
    await waitFor("all to be settled", async () => (await sourceOf(service)).under_way === 0, SLOWLY);
  }

  test("a message is counted in each form that POST /events takes, and acknowledged", async () => {
    const lines = [event("forms", "d"), event("forms", "e", { event: "impression" })];
    const packed = gzipSync(lines.map((line) => JSON.stringify(line)).join("\n"));
    const [one, untyped, two, packedOne] = await publish(
      message(event("forms", "a"), "one"),
      { body: JSON.stringify(event("forms", "b"), null, 2), id: "untyped" },
      message([event("forms", "c"), event("forms", "c", { id: "its own" })], "two"),
      { body: packed, contentType: NDJSON_TYPE, contentEncoding: "gzip", id: "lines" },
      message([event("forms", "f", { id: "named" })]),
    );
    const ids = ["its own", "named", one!, untyped!, `${two}#0`, `${packedOne}#0`, `${packedOne}#1`];
    expect(await rowsOf(site, "forms", ids.length)).toEqual(ids.sort());
    expect(await readHour(service.port, HOUR, "forms")).toEqual({
      uniqueUsers: 6,
      clicks: 6,
      impressions: 1,
    });
    await untilSettled("acknowledged", 5);
    expect(await sourceOf(service)).toMatchObject({
      name: broker().source,
      status: "consuming",
      under_way: 0,
    });
    expect(await ledgerOf(service)).toMatchObject({ duplicates: 0, holds: true });
    const { source } = broker();
    expect((await scrape(service.port)).get(`hourglass_source_consuming{source="${source}"}`)).toBe(1);
  });

  test("an event counts once under its id, whichever way it arrives", async () => {
    const { duplicates } = await ledgerOf(service);
    const named = message(event("again", "a", { id: "again-1" }), "one message");
    const acknowledged = await counted("acknowledged");
    await publish(named, { ...named, id: "another message" });
    await untilSettled("acknowledged", acknowledged + 2);
    await postEvent(service.port, { at: HOUR + 1, user: "a", kind: "click", stream: "again", id: "again-1" });
    expect(await ledgerOf(service)).toMatchObject({ duplicates: duplicates + 2, holds: true });
    expect(await rowsOf(site, "again", 1)).toEqual(["again-1"]);
  });

  test("a message of 10,000 events is counted whole, and one of line ends alone is acknowledged", async () => {
    const events = Array.from({ length: EVENTS_IN_ONE }, (_, i) => JSON.stringify(event("large", `u${i}`)));
    const acknowledged = await counted("acknowledged");
    await publish(
      message(events.join("\n"), "large", NDJSON_TYPE),
      message("\n".repeat(EVENTS_IN_ONE), "empty lines", NDJSON_TYPE),
    );
    await untilSettled("acknowledged", acknowledged + 2);
    expect((await readHour(service.port, HOUR, "large")).clicks).toBe(EVENTS_IN_ONE);
  });

  test("events that can't be counted are set aside once, and those beside them count", async () => {
    const mixed = message([event("mixed", "a"), event("mixed", ""), event("mixed", "c")], "mixed");
    const hostile = message("\n".repeat(50_000), "hostile", NDJSON_TYPE);
    const { refused } = await ledgerOf(service);
    const names = await publish(
      mixed,
      message("nonsense", "torn"),
      message(event("mixed", "x"), "typed", "text/plain"),
      hostile,
    );
    await untilSettled("rejected", 3);
    await untilIdle();
    expect(await rowsOf(site, "mixed", 2)).toEqual([`${names[0]}#0`, `${names[0]}#2`].sort());
    expect((await ledgerOf(service)).refused["invalid"]).toBe((refused["invalid"] ?? 0) + 4);
    const pieces = await poisonPieces(site, service);
    const byMessage = new Map(pieces.map((piece) => [piece.messageId, piece]));
    expect([...byMessage.keys()].sort()).toEqual([...names].sort());
    expect(byMessage.get(names[0]!)).toMatchObject({
      ...{ position: 1, eventId: `${names[0]}#1`, body: JSON.stringify(event("mixed", "")) },
      reason: expect.stringContaining("user: got"),
    });
    expect(byMessage.get(names[1]!)).toMatchObject({ position: 0, eventId: names[1]!, body: "nonsense" });
    expect(byMessage.get(names[2]!)!.reason).toContain('content-type: got "text/plain"');
    expect(byMessage.get(names[3]!)!.reason).toContain("more than 40000 lines");
    expect((await poison(site, service, "list")).output).toContain(`event 1 of message "${names[0]}"`);
    expect(await poison(site, service, "replay", "--all")).toMatchObject({ exitCode: 1 });
    expect(await poison(site, service, "drop", "--all")).toMatchObject({
      exitCode: 0,
      output: "4 dropped\n",
    });
  });

  test("what was set aside can be replayed once its reason is gone, and then it counts once", async () => {
    // More than a day ahead for two more seconds; for longer if it was read too late for that.
    let [name, piece]: [string?, StoredPoison?] = [];
    let sent = 0;
    for (let aheadMs = 2_000; piece === undefined; aheadMs *= 4) {
      const settled = async () => (await counted("acknowledged")) + (await counted("rejected"));
      const before = await settled();
      const timestamp = Date.now() + 24 * 3_600_000 + aheadMs;
      [name] = await publish(message([event("early", "a", { timestamp })], `early-${aheadMs}`));
      sent += 1;
      await waitFor("it to be settled", async () => (await settled()) > before, SLOWLY);
      [piece] = await poisonPieces(site, service);
    }
    expect(piece.reason).toContain("timestamp");
    const isReplayed = async () => (await poison(site, service, "replay", String(piece.number))).exitCode === 0;
    // Each question is a process of its own.
    await waitFor("it to be taken", isReplayed, { intervalMs: 500 });
    expect(await poisonPieces(site, service)).toEqual([]);
    const rows = await rowsOf(site, "early", sent);
    expect(rows).toHaveLength(sent);
    expect(rows).toContain(`${name}#0`);
  });

  test("at SIGTERM each message is settled or left: none is lost, and without ids none counts twice", async () => {
    const count = 4_000;
    const publishing = publish(...many(count, "stop"));
    await rowsOf(site, "stop", 500);
    await service.kill("SIGTERM");
    expect(service.exitCode).toBe(0);
    await publishing;
    const rows = (await idsOf(site, "stop")).length;
    await waitFor("the rest to be left", async () => {
      const left = await broker().left(queue);
      if (rows + left !== count) throw new Error(`${rows} rows, and ${left} are left`);
      return true;
    });
    await service.start();
    expect(await rowsOf(site, "stop", count)).toHaveLength(count);
    await isConsuming(service);
  });

  outageTest("after kill -9 of the service what was not acknowledged is delivered again, and counts once", async () => {
    const count = 3_000;
    const publishing = publish(...many(count, "killed", "killed"));
    await waitFor("some", async () => (await readHour(service.port, HOUR, "killed")).clicks > 300, SLOWLY);
    await service.restart("SIGKILL");
    await publishing;
    expect(await rowsOf(site, "killed", count)).toHaveLength(count);
    await isConsuming(service);
    await untilIdle();
    expect((await readHour(service.port, HOUR, "killed")).clicks).toBe(count);
  });

  outageTest("the service runs on without its broker, and reconnects", async () => {
    const { server } = broker();
    await publish(message(event("away", "a", { id: "before" }), "before"));
    await rowsOf(site, "away", 1);
    await server.kill();
    await waitFor("that to be noticed", async () => (await sourceOf(service)).status === "connecting", SLOWLY);
    expect((await readyz(service)).status).toBe(200);
    await postEvent(service.port, {
      at: HOUR + 1,
      user: "b",
      kind: "click",
      stream: "away",
      id: "meanwhile",
    });
    const consuming = `hourglass_source_consuming{source="${broker().source}"}`;
    expect((await scrape(service.port)).get(consuming)).toBe(0);
    await server.start();
    await isConsuming(service);
    await publish(message(event("away", "c", { id: "after" }), "after"));
    expect(await rowsOf(site, "away", 3)).toEqual(["after", "before", "meanwhile"]);
    expect(service.log().split("not consuming, retrying until it works").length - 1).toBeLessThanOrEqual(5);
  });

  if (name === "embedded") return;

  test("is held while the hot store is away: nothing is lost, and without ids nothing counts twice", async () => {
    const { redis } = site.servers!;
    await untilIdle();
    await redis.kill();
    await waitFor("that to be noticed", async () => (await readyz(service)).status === 503);
    const count = 200;
    const acknowledged = await counted("acknowledged");
    const redelivered = await counted("redelivered");
    await publish(...many(count, "held"));
    const held = await waitFor(
      "messages to be held",
      async () => {
        const source = await sourceOf(service);
        return source.under_way > 0 && source.status === "paused" && source;
      },
      SLOWLY,
    );
    expect(held.reason).toBe("hot_store_away");
    expect(await counted("acknowledged")).toBe(acknowledged);
    await redis.start();
    await rowsOf(site, "held", count);
    await untilSettled("acknowledged", acknowledged + count);
    await publish(message(event("held", "last")));
    expect(await rowsOf(site, "held", count + 1)).toHaveLength(count + 1);
    expect(await counted("redelivered")).toBe(redelivered);
    await isConsuming(service);
  });

  test("poison is held while the cold store is away, and set aside after that", async () => {
    const { mariaDb } = site.servers!;
    await mariaDb.kill();
    const rejected = await counted("rejected");
    await publish(message("torn again", "torn-2"), message(event("cold", "a"), "cold"));
    const isCounted = async () => (await readHour(service.port, HOUR, "cold")).clicks === 1;
    await waitFor("what can be counted to count", isCounted, SLOWLY);
    const held = await waitFor(
      "the poison to be held",
      async () => {
        const source = await sourceOf(service);
        return source.status === "paused" && source.under_way === 1 && source;
      },
      SLOWLY,
    );
    expect(held.reason).toBe("cold_store_away");
    await mariaDb.start();
    await untilSettled("rejected", rejected + 1);
    expect((await poisonPieces(site, service)).map(({ body }) => body)).toEqual(["torn again"]);
    await poison(site, service, "drop", "--all");
  });

  test("messages that wait while the cold store is away are consumed once it is back", async () => {
    await takenAfterOutage({ site, service, broker: broker(), queue }, 1_000);
  });

  test("a queue is shared by all workers", async () => {
    const shared = `${queue}-shared`;
    await broker().declare(shared);
    const settings = { ...SETTINGS, ...broker().settings(shared), WORKERS: "2" };
    await using workers = disposable(await site.start(settings));
    await isConsuming(workers.service);
    await broker().publish(shared, many(500, "workers", "w"));
    expect(await rowsOf(site, "workers", 500)).toHaveLength(500);
    await workers.service.kill("SIGTERM");
    expect(workers.service.exitCode).toBe(0);
    expect(await broker().left(shared)).toBe(0);
  });
}

/**
 * One group for each mode that is given. `outageTest` declares the tests that kill the service or the broker: slow ones
 * for a broker that takes long to notice the one, or to start after the other.
 */
export function queueContracts(modes: readonly Mode[], broker: () => QueueBroker, outageTest: OutageTest = test): void {
  for (const mode of modes) describe(`a queue, ${mode.name}`, () => queueContract(mode, broker, outageTest));
}

/** A topic of a real Kafka as intake: the contract of all brokers, and specifics of Kafka. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type KafkaServer, startKafka } from "../../harness/brokers/kafka/kafka.ts";
import { type Certificates, makeCertificates } from "../../harness/servers/certificates.ts";
import { scrape } from "../../harness/servers/prometheus.ts";
import { describeWithServers } from "../../harness/servers/servers.ts";
import { readHour } from "../../harness/service/analytics-client.ts";
import { MODES, type Mode, type Service, type Site, startService } from "../../harness/service/service.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { longGroup, longTest } from "../../harness/tiers.ts";
import { PREFETCH, type QueueBroker, queueContracts, takenAfterOutage } from "./queue-contract.ts";
import {
  disposable,
  event,
  HOUR,
  isConsuming,
  ledgerOf,
  messagesOf,
  rowsOf,
  SETTINGS,
  SLOWLY,
  sourceOf,
} from "./queue-site.ts";
import { tlsContract } from "./tls-contract.ts";

const LONG_MS = 300_000;

const USER = { name: "ann", password: "p@ss:word/1" };
const CODECS = ["none", "gzip", "snappy", "lz4", "zstd"] as const;

let kafka: KafkaServer;
let broker: QueueBroker;
let certificates: Certificates;

describeWithServers("kafka", ["kafka", "redis", "mariadb"], () => {
  beforeAll(async () => {
    certificates = await makeCertificates();
    kafka = await startKafka({ certificates, user: USER });
    broker = kafkaBroker(kafka);
  });
  afterAll(async () => {
    await kafka.stop();
    certificates.delete();
  });

  const [embedded, ...others] = MODES;
  contracts([embedded!]);
  // In `npm test` RabbitMQ shows what a source does while a store is unavailable: it is the same for all brokers.
  describe(longGroup("with servers"), () => contracts(others));
  tlsContract(() => ({ broker, certificates, urlOf: (host) => secureUrlOf(host, USER.password, "plain") }));
  topics();
});

function contracts(modes: readonly Mode[]): void {
  // A killed member's partitions wait for its session's timeout, and a JVM is slow to start again.
  queueContracts(
    modes,
    () => broker,
    (name, body) => longTest(name, body, LONG_MS),
  );
}

function secureUrlOf(host: string, password: string, mechanism: string): string {
  return `kafkas://ann:${encodeURIComponent(password)}@${host}:${kafka.securePort}?sasl=${mechanism}`;
}

/** One partition a topic, so that the places of messages are known. */
function kafkaBroker(server: KafkaServer): QueueBroker {
  const published = new Map<string, number>();
  return {
    source: "kafka",
    server,
    settings: (topic) => settingsFor(topic),
    declare: (topic) => server.createTopic(topic, 1),
    publish: async (topic, messages) => {
      const from = published.get(topic) ?? 0;
      published.set(topic, from + messages.length);
      await server.publish(
        topic,
        messages.map(({ body, contentType, contentEncoding }) => ({
          value: body,
          headers: {
            ...(contentType !== undefined && { "content-type": contentType }),
            ...(contentEncoding !== undefined && { "Content-Encoding": contentEncoding }),
          },
        })),
      );
      return messages.map((_, i) => `${topic}/0/${from + i}`);
    },
    left: async (topic) => published.get(topic)! - (await server.committed(groupOf(topic), topic))[0]!,
  };
}

/** A group of its own: no test waits for a member that another one has killed. */
function groupOf(topic: string): string {
  return `${topic}-group`;
}

function settingsFor(topic: string, url = kafka.url): Record<string, string> {
  return { BROKER_URL: url, BROKER_QUEUE: topic, BROKER_GROUP: groupOf(topic) };
}

function values(stream: string, count: number, prefix = ""): string[] {
  return Array.from({ length: count }, (_, i) => JSON.stringify(event(stream, `${prefix}${i}`)));
}

function topics(): void {
  let site: Site;
  beforeAll(async () => {
    site = await MODES.find(({ name }) => name === "redis+mysql")!.open();
  });
  afterAll(() => site.close());

  const start = async (topic: string, url?: string) =>
    disposable(await site.start({ ...SETTINGS, ...settingsFor(topic, url) }));

  async function clicksOf(service: Service, stream: string): Promise<number> {
    return (await readHour(service.port, HOUR, stream)).clicks;
  }

  longTest(
    "messages are read however they were compressed, by librdkafka, Java's client and another",
    async () => {
      await kafka.createTopic("codecs", 3);
      for (const codec of CODECS) {
        await kafka.publishByKcat("codecs", values("codecs", 50, `kcat ${codec}`), codec);
        const own = values("codecs", 50, `own ${codec}`).map((value) => ({ value }));
        await kafka.publish("codecs", own, codec);
      }
      const byJava = async (codec: string) =>
        await kafka.publishByJava("codecs", values("codecs", 50, `java ${codec}`), codec);
      await Promise.all(CODECS.slice(1).map(byJava));
      await using started = await start("codecs");
      await rowsOf(site, "codecs", 700);
      const { clicks, uniqueUsers } = await readHour(started.service.port, HOUR, "codecs");
      expect(clicks).toBe(700);
      expect(Math.abs(uniqueUsers - 700)).toBeLessThan(35);
    },
    LONG_MS,
  );

  test("a tombstone, and a transaction that was aborted, count nothing", async () => {
    await kafka.createTopic("gaps", 1);
    await kafka.publish("gaps", [{ value: null }]);
    await kafka.publishInTransaction("gaps", values("gaps", 3, "aborted"), "abort");
    await kafka.publishInTransaction("gaps", values("gaps", 2, "committed"), "commit");
    await kafka.publish("gaps", [{ value: JSON.stringify(event("gaps", "last")) }]);
    await using started = await start("gaps");
    await rowsOf(site, "gaps", 3);
    // Six messages, and the markers of both transactions.
    await waitFor("all to be committed", async () => (await kafka.committed(groupOf("gaps"), "gaps"))[0] === 9, SLOWLY);
    expect(await clicksOf(started.service, "gaps")).toBe(3);
    expect((await sourceOf(started.service)).lags).toEqual([{ partition: 0, lag: 0 }]);
  });

  longTest(
    "instances that join, are killed and leave under load lose and double nothing",
    async () => {
      const count = 30_000;
      await kafka.createTopic("shared", 6);
      await using first = await start("shared");
      await isConsuming(first.service);
      const publishing = (async () => {
        for (let i = 0; i < count; i += 1_000)
          await kafka.publish(
            "shared",
            values("shared", 1_000, `${i}-`).map((value) => ({ value })),
          );
      })();
      const past = (clicks: number) =>
        waitFor(`${clicks} clicks`, async () => (await clicksOf(first.service, "shared")) > clicks, SLOWLY);
      await past(1_000);
      await using second = await start("shared");
      await using third = await start("shared");
      const partitionsOf = async ({ service }: { service: Service }) => (await sourceOf(service)).lags?.length;
      await waitFor(
        "all three to have a share",
        async () => {
          const shares = await Promise.all([first, second, third].map(partitionsOf));
          return shares.every((share) => share === 2);
        },
        SLOWLY,
      );
      await second.service.kill("SIGKILL");
      await third.service.kill("SIGTERM");
      await publishing;
      await waitFor("one to have all", async () => (await partitionsOf(first)) === 6, SLOWLY);
      await rowsOf(site, "shared", count);
      await waitFor("no lag", async () => (await sourceOf(first.service)).lags!.every(({ lag }) => lag === 0), SLOWLY);
      expect(await clicksOf(first.service, "shared")).toBe(count);
      expect(await ledgerOf(first.service)).toMatchObject({ holds: true });
    },
    LONG_MS,
  );

  test("the lag of each partition is in /readyz and in the metrics; added partitions are read", async () => {
    await kafka.createTopic("lagging", 1);
    await using started = await start("lagging");
    const { service } = started;
    await isConsuming(service);
    await site.servers!.redis.kill();
    await kafka.publish(
      "lagging",
      values("lagging", 300).map((value) => ({ value })),
    );
    const lagsBy = async () => (await sourceOf(service)).lags;
    await waitFor("the lag to be seen", async () => (await lagsBy())?.[0]?.lag === 300, SLOWLY);
    const inMetrics = 'hourglass_source_lag{source="kafka",partition="0"}';
    expect((await scrape(service.port)).get(inMetrics)).toBe(300);
    await site.servers!.redis.start();
    await waitFor("no lag", async () => (await lagsBy())?.[0]?.lag === 0, SLOWLY);
    await kafka.addPartitions("lagging", 2);
    await waitFor("the new one", async () => (await lagsBy())?.length === 2, SLOWLY);
    await kafka.publish("lagging", [{ value: JSON.stringify(event("lagging", "new")), partition: 1 }]);
    expect(await rowsOf(site, "lagging", 301)).toContain("lagging/1/0");
  });

  longTest(
    "partitions that are added go to an instance that had none",
    async () => {
      await kafka.createTopic("growing", 1);
      await using first = await start("growing");
      await using second = await start("growing");
      const shares = async () => {
        const sources = await Promise.all([first, second].map(({ service }) => sourceOf(service)));
        return sources.map(({ lags }) => lags?.length).sort();
      };
      await waitFor("one to have all", async () => Bun.deepEquals(await shares(), [0, 1]), SLOWLY);
      await kafka.addPartitions("growing", 2);
      await waitFor("each to have one", async () => Bun.deepEquals(await shares(), [1, 1]), SLOWLY);
      const messages = [0, 1].map((partition) => ({ value: values("growing", 1, `${partition}`)[0]!, partition }));
      await kafka.publish("growing", messages);
      expect(await rowsOf(site, "growing", 2)).toEqual(["growing/0/0", "growing/1/0"]);
    },
    LONG_MS,
  );

  longTest(
    "after MySQL was away for a minute no lag is left",
    async () => {
      await kafka.createTopic("minute", 1);
      const settings = { ...SETTINGS, ...settingsFor("minute"), BROKER_PREFETCH: String(PREFETCH) };
      await using started = disposable(await site.start(settings));
      await isConsuming(started.service);
      await takenAfterOutage({ site, service: started.service, broker, queue: "minute" }, 60_000);
    },
    LONG_MS,
  );

  longTest(
    "memory bounds the large messages in flight",
    async () => {
      const [count, bytes, inFlight] = [40, 900_000, 19];
      await kafka.createTopic("large", 1);
      await using started = await start("large");
      await site.servers!.mariaDb.kill();
      // Poison, which waits for MySQL.
      for (let i = 0; i < count; i++) await kafka.publish("large", [{ value: `${i} `.padEnd(bytes, "x") }]);
      const source = () => sourceOf(started.service);
      await waitFor("16 MiB to be in flight", async () => (await source()).under_way === inFlight, SLOWLY);
      expect((await source()).status).toBe("paused");
      await site.servers!.mariaDb.start();
      const areAllRejected = async () => (await messagesOf(started.service, "kafka", "rejected")) === count;
      await waitFor("all to be set aside", areAllRejected, SLOWLY);
    },
    LONG_MS,
  );

  longTest(
    "one group may consume several topics",
    async () => {
      const started: Service[] = [];
      for (const topic of ["first", "second"]) {
        await kafka.createTopic(topic, 2);
        await kafka.publish(
          topic,
          values(topic, 20).map((value) => ({ value })),
        );
        const settings = { ...SETTINGS, ...settingsFor(topic), BROKER_GROUP: "both" };
        started.push(await site.start(settings));
      }
      await Promise.all(["first", "second"].map((topic) => rowsOf(site, topic, 20)));
      await Promise.all(started.map((service) => service.stop()));
    },
    LONG_MS,
  );

  longTest(
    "TLS and each SASL mechanism work, and a wrong password is reported without being shown",
    async () => {
      await kafka.createTopic("secure", 1);
      const secured = async (url: string) =>
        disposable(
          await startService({
            settings: { ...settingsFor("secure", url), BROKER_CA_FILE: certificates.caFile },
          }),
        );
      for (const mechanism of ["plain", "scram-sha-256", "scram-sha-512"]) {
        await kafka.publish("secure", [{ value: JSON.stringify(event("secure", mechanism)) }]);
        await using started = await secured(secureUrlOf("localhost", USER.password, mechanism));
        await waitFor("the event", async () => (await clicksOf(started.service, "secure")) > 0, SLOWLY);
      }
      await using refused = await secured(secureUrlOf("localhost", "hunter2", "scram-sha-512"));
      const reason = async () => (await sourceOf(refused.service)).reason;
      await waitFor("a reason", async () => (await reason())?.includes("SASL authentication failed"), SLOWLY);
      expect(refused.service.log()).not.toContain("hunter2");
    },
    LONG_MS,
  );
}

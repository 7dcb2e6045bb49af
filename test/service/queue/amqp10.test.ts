/** Queues of a real ActiveMQ by AMQP 1.0 as intake: the contract of all brokers, and specifics of AMQP 1.0. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type ActiveMqServer, startActiveMq } from "../../harness/brokers/activemq/activemq.ts";
import { type Certificates, makeCertificates } from "../../harness/servers/certificates.ts";
import { describeWithServers } from "../../harness/servers/servers.ts";
import { MODES } from "../../harness/service/service.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { longTest } from "../../harness/tiers.ts";
import { type OutgoingMessage, type QueueBroker, queueContracts } from "./queue-contract.ts";
import { event, messagesOf, poisonPieces, rowsOf, SETTINGS, SLOWLY } from "./queue-site.ts";
import { tlsContract } from "./tls-contract.ts";

const LONG_MS = 180_000;

describeWithServers("amqp 1.0, activemq", ["activemq", "redis", "mariadb"], () => {
  let server: ActiveMqServer;
  let certificates: Certificates;
  beforeAll(async () => {
    certificates = await makeCertificates();
    server = await startActiveMq(certificates);
  });
  afterAll(async () => {
    await server.stop();
    certificates.delete();
  });

  const clustered = MODES.filter(({ name }) => name !== "embedded");
  queueContracts(
    clustered,
    () => activeMqBroker(server),
    // A JVM is slow to start again. RabbitMQ shows the same in `npm test`.
    (name, body) => {
      longTest(name, body, LONG_MS);
    },
  );
  tlsContract(() => ({
    ...{ broker: activeMqBroker(server), certificates },
    urlOf: (host) => `amqp10s://${host}:${server.securePort}`,
  }));

  test("texts are read as bytes are, a structure is set aside, and numbers are ids", async () => {
    const site = await MODES[0]!.open();
    try {
      const settings = { ...SETTINGS, BROKER_URL: server.url, BROKER_QUEUE: "forms" };
      const service = await site.start(settings);
      const json = JSON.stringify(event("texts", "a"));
      await server.client.publish("forms", [
        { message_id: 7, body: json },
        { message_id: "bytes", body: Buffer.from(json) },
        { message_id: "map", body: { timestamp: 1 } },
      ]);
      expect(await rowsOf(site, "texts", 2)).toEqual(["7", "bytes"]);
      await waitFor("it to be rejected", async () => (await messagesOf(service, "amqp10", "rejected")) === 1, SLOWLY);
      const [piece] = await poisonPieces(site, service);
      expect(piece).toMatchObject({ messageId: "map", body: '{"timestamp":1}' });
      // Where ActiveMQ puts what was rejected.
      await waitFor("a dead letter", async () => (await server.client.depth("ActiveMQ.DLQ")) > 0, SLOWLY);
    } finally {
      await site.close();
    }
  });
});

function activeMqBroker(server: ActiveMqServer): QueueBroker {
  return {
    source: "amqp10",
    server,
    settings: (queue) => ({ BROKER_URL: server.url, BROKER_QUEUE: queue }),
    // It makes a queue when that is used.
    declare: async () => {},
    publish: async (queue, messages) => {
      await server.client.publish(queue, messages.map(inAmqp10));
      return messages.map(({ id }) => id ?? "");
    },
    left: (queue) => server.client.depth(queue),
  };
}

function inAmqp10({ body, contentType, contentEncoding, id }: OutgoingMessage) {
  return {
    body: Buffer.from(body),
    ...(contentType !== undefined && { content_type: contentType }),
    ...(contentEncoding !== undefined && { content_encoding: contentEncoding }),
    ...(id !== undefined && { message_id: id }),
  };
}

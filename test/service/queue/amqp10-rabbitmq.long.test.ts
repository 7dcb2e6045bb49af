/** RabbitMQ's queues by AMQP 1.0 (its plugin) as intake: the contract of all brokers, on a real one. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type RabbitMqServer, startRabbitMq } from "../../harness/brokers/rabbitmq.ts";
import { type Certificates, makeCertificates } from "../../harness/servers/certificates.ts";
import { describeWithServers } from "../../harness/servers/servers.ts";
import { MODES } from "../../harness/service/service.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { type QueueBroker, queueContracts } from "./queue-contract.ts";
import { disposable, SETTINGS, SLOWLY, sourceOf } from "./queue-site.ts";
import { tlsContract } from "./tls-contract.ts";

describeWithServers("amqp 1.0, rabbitmq", ["rabbitmq"], () => {
  let server: RabbitMqServer;
  let certificates: Certificates;
  beforeAll(async () => {
    certificates = await makeCertificates();
    server = await startRabbitMq(certificates);
  });
  afterAll(async () => {
    await server.stop();
    certificates.delete();
  });

  queueContracts(MODES.slice(0, 1), () => rabbitMqBroker(server));
  tlsContract(() => ({
    ...{ broker: rabbitMqBroker(server), certificates },
    urlOf: (host) => `amqp10s://guest:guest@${host}:${server.securePort}`,
  }));

  test("a missing queue and a wrong password are reported", async () => {
    const site = await MODES[0]!.open();
    try {
      const settings = { BROKER_URL: urlOf(server, "guest"), BROKER_QUEUE: "/amq/queue/none" };
      await using started = disposable(await site.start({ ...SETTINGS, ...settings }));
      const { service } = started;
      const reason = async () => (await sourceOf(service)).reason;
      await waitFor("the queue's name", async () => (await reason())?.includes("no queue 'none'"), SLOWLY);
    } finally {
      await site.close();
    }
    const other = await MODES[0]!.open();
    try {
      const settings = { BROKER_URL: urlOf(server, "hunter2"), BROKER_QUEUE: "/amq/queue/none" };
      const service = await other.start({ ...SETTINGS, ...settings });
      const reason = async () => (await sourceOf(service)).reason;
      await waitFor("the refusal", async () => (await reason())?.includes("unauthorized"), SLOWLY);
      expect(service.log()).not.toContain("hunter2");
    } finally {
      await other.close();
    }
  });
});

function urlOf(server: RabbitMqServer, password: string): string {
  return `amqp10://guest:${password}@127.0.0.1:${server.port}`;
}

/** Published by its other protocol, which is what most who have it do. */
function rabbitMqBroker(server: RabbitMqServer): QueueBroker {
  return {
    source: "amqp10",
    server,
    settings: (queue) => ({ BROKER_URL: urlOf(server, "guest"), BROKER_QUEUE: `/amq/queue/${queue}` }),
    declare: (queue) => server.declare(queue),
    publish: async (queue, messages) => {
      const outgoing = messages.map(({ body, contentType, contentEncoding, id }) => ({
        body,
        options: {
          ...(contentType !== undefined && { contentType }),
          ...(contentEncoding !== undefined && { contentEncoding }),
          ...(id !== undefined && { messageId: id }),
        },
      }));
      await server.publish(queue, outgoing);
      return messages.map(({ id }) => id ?? "");
    },
    left: (queue) => server.depth(queue),
  };
}

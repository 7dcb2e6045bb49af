/** Creates the source of events that the settings name, if any. */
import type { Pipeline } from "../pipeline/pipeline.ts";
import type { Log } from "../runtime/log.ts";
import { type BrokerPlace, brokerPlaceOf, describeBrokerPlace } from "../settings/broker-url.ts";
import { readPem } from "../settings/pem-file.ts";
import type { Config } from "../settings/settings.ts";
import { BrokerSource, type Driver } from "./broker-source.ts";
import { MessageIntake } from "./message-intake.ts";

type SourceSettings = Pick<Config, "brokerUrl" | "brokerQueue" | "brokerGroup" | "brokerPrefetch" | "brokerCaFile">;

interface SourcesOptions {
  readonly pipeline: Pipeline;
  readonly log: Log;
  readonly now: () => number;
}

/** Throws ConfigError if the file of certificates cannot be read. */
export function createSources(settings: SourceSettings, options: SourcesOptions): readonly BrokerSource[] {
  const { brokerQueue: queue, brokerGroup: group, brokerPrefetch: prefetch, brokerCaFile } = settings;
  const place = placeIn(settings);
  if (place === undefined || queue === undefined) return [];
  const { log } = options;
  const name = place.kind;
  const ca = brokerCaFile && readPem("BROKER_CA_FILE", brokerCaFile);
  const intake = new MessageIntake({ ...options, name, origin: `${name}:${queue}` });
  let driver: Driver | undefined;
  const source = new BrokerSource({
    ...{ name, description: describe(place, queue), intake, log },
    newSession: async (counts) => {
      driver ??= await driverFor(place);
      return driver({ queue, group, prefetch, ca, intake, counts, log });
    },
  });
  return [source];
}

/** Printed at start, so it never has a password. */
export function sourceDescriptions(settings: SourceSettings): string[] {
  const place = placeIn(settings);
  const { brokerQueue: queue } = settings;
  return place === undefined || queue === undefined ? [] : [describe(place, queue)];
}

function placeIn({ brokerUrl }: SourceSettings): BrokerPlace | undefined {
  return brokerUrl === undefined ? undefined : brokerPlaceOf(brokerUrl);
}

function describe(place: BrokerPlace, queue: string): string {
  return `${place.kind === "kafka" ? "topic" : "queue"} ${queue} of ${describeBrokerPlace(place)}`;
}

/** Loads only the client of this broker: the largest takes longer to load than the rest of the service. */
async function driverFor(place: BrokerPlace): Promise<Driver> {
  if (place.kind === "kafka") return (await import("./kafka/kafka-session.ts")).kafkaDriver(place);
  if (place.kind === "amqp10") {
    const { Amqp10Session } = await import("./amqp10-session.ts");
    return (options) => new Amqp10Session(place, options);
  }
  const { RabbitMqSession } = await import("./rabbitmq-session.ts");
  return (options) => new RabbitMqSession(place, options);
}

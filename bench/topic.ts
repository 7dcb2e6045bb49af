/**
 * `npm run bench -- topic`: how fast a Kafka topic with many events is consumed, compared with the same events in
 * batches of `POST /events`. Each side begins with fresh stores; its first tenth is the warm-up.
 */
import { Command, Option } from "commander";
import { type KafkaServer, startKafka } from "../test/harness/brokers/kafka/kafka.ts";
import { Random } from "../test/harness/pipeline/random.ts";
import { scrape } from "../test/harness/servers/prometheus.ts";
import { type Service, startService } from "../test/harness/service/service.ts";
import { waitFor } from "../test/harness/service/wait-for.ts";
import { whole } from "./arguments.ts";
import { eventLine, POSTS, timeWithRoom } from "./load/workload.ts";
import { cpuMs } from "./measure/process-tree.ts";
import { openStores } from "./measure/stores.ts";
import { FULL } from "./parameters.ts";
import { figureText } from "./statistics.ts";

type Mode = "embedded" | "redis";

interface Options {
  readonly events: number;
  readonly perMessage: number;
  readonly mode: Mode;
  readonly check: boolean;
}

const SHARE_MIN = 0.7;
const TOPIC = "events";
const PARTITIONS = 6;
const PUBLISHED_AT_ONCE = 100_000;
const BUSY_MS = 100;
/** Bodies of requests are all made before they are sent. */
const POSTED_MAX = 1_000_000;
const { batchEvents: BATCH_EVENTS, batchConnections: BATCH_CONNECTIONS, users } = FULL;
const WARM_UP_SHARE = 0.1;
const PRODUCTION = { NODE_ENV: "production", LOG_LEVEL: "warn" };
const TIMEOUT_MS = 3_600_000;

export function topicCommand(say: (line: string) => void): Command {
  return new Command("topic")
    .description("events of a Kafka topic that already holds them, beside the same events by POST /events")
    .option("--events <n>", "in the topic", whole, 2_000_000)
    .option("--per-message <n>", "events in a message", whole, 1)
    .addOption(new Option("--mode <mode>", "of the service").choices(["embedded", "redis"]).default("redis"))
    .option("--check", `end with 1 if the topic's rate is below ${SHARE_MIN} of the requests'`, false)
    .action(async (options: Options) => process.exit(await run(options, say)));
}

async function run({ events, perMessage, mode, check }: Options, say: (line: string) => void): Promise<number> {
  const now = await timeWithRoom(0);
  const kafka = await startKafka();
  try {
    await fill(kafka, { events, perMessage, now });
    say(`${events} events are in the topic, ${perMessage} in a message`);
    const consumed = await consume(mode, kafka, events);
    console.log(`${mode}, Kafka, ${perMessage} in a message: ${figuresText(consumed)}`);
    const posted = await post(mode, Math.min(events, POSTED_MAX), now);
    console.log(`${mode}, POST /events, ${BATCH_EVENTS} in a batch: ${figuresText(posted)}`);
    const share = consumed.eventsPerS / posted.eventsPerS;
    console.log(`from the topic ${figureText(share)} of what comes by requests`);
    return check && share < SHARE_MIN ? 1 : 0;
  } finally {
    await kafka.stop();
  }
}

interface Figures {
  readonly eventsPerS: number;
  /** CPU time of the service's process. */
  readonly cpuUsPerEvent: number;
}

interface Sample {
  readonly events: number;
  readonly atMs: number;
  readonly cpuMs: number;
}

function sampleOf({ pid }: Service, events: number): Sample {
  return { events, atMs: performance.now(), cpuMs: cpuMs(pid) };
}

function figuresText({ eventsPerS, cpuUsPerEvent }: Figures): string {
  return `${figureText(eventsPerS)} events/s, ${figureText(cpuUsPerEvent)} µs of the service's CPU per event`;
}

/** `hasIds`: a topic's events need none, since their offsets are their ids. */
function* lines(count: number, now: number, hasIds: boolean): Generator<string> {
  const random = new Random(1);
  const population = { users, streams: 1 };
  for (let number = 0; number < count; number++)
    yield eventLine(random, { mix: POSTS, population, now }, hasIds ? `events/0/${number}` : undefined);
}

async function fill(
  kafka: KafkaServer,
  { events, perMessage, now }: { events: number; perMessage: number; now: number },
): Promise<void> {
  await kafka.createTopic(TOPIC, PARTITIONS);
  const headers = { "content-type": "application/x-ndjson" };
  let messages: { value: string; headers: typeof headers }[] = [];
  let some: string[] = [];
  for (const line of lines(events, now, false)) {
    if (some.push(line) < perMessage) continue;
    messages.push({ value: some.join("\n"), headers });
    some = [];
    if (messages.length * perMessage < PUBLISHED_AT_ONCE) continue;
    await kafka.publish(TOPIC, messages, "lz4");
    messages = [];
  }
  if (some.length > 0) messages.push({ value: some.join("\n"), headers });
  if (messages.length > 0) await kafka.publish(TOPIC, messages, "lz4");
}

async function consume(mode: Mode, kafka: KafkaServer, events: number): Promise<Figures> {
  const settings = { BROKER_URL: kafka.url, BROKER_QUEUE: TOPIC };
  return await measured(mode, settings, async (service) => {
    const accepted = async () => (await scrape(service.port)).get("hourglass_events_accepted_total")!;
    const reach = async (count: number) => {
      await waitFor(`${count} events`, async () => (await accepted()) >= count, {
        timeoutMs: TIMEOUT_MS,
        intervalMs: 500,
      });
      return sampleOf(service, await accepted());
    };
    return [await reach(WARM_UP_SHARE * events), await reach(events)];
  });
}

async function post(mode: Mode, events: number, now: number): Promise<Figures> {
  const bodies: string[] = [];
  let some: string[] = [];
  for (const line of lines(events, now, true)) {
    if (some.push(line) < BATCH_EVENTS) continue;
    bodies.push(some.join("\n"));
    some = [];
  }
  return await measured(mode, {}, async (service) => {
    const headers = { "content-type": "application/x-ndjson" };
    const send = async (body: string) => {
      for (;;) {
        const answer = await fetch(`${service.url}/events`, { method: "POST", headers, body });
        await answer.arrayBuffer();
        if (answer.status === 200) return;
        // Some or all of it was refused; what was not counts once, by its ids.
        if (![207, 503].includes(answer.status)) throw new Error(`a batch was answered with ${answer.status}`);
        await Bun.sleep(BUSY_MS);
      }
    };
    const sendAll = async (batches: string[]) => {
      const sendOn = async () => {
        for (let body = batches.pop(); body !== undefined; body = batches.pop()) await send(body);
      };
      await Promise.all(Array.from({ length: BATCH_CONNECTIONS }, sendOn));
    };
    await sendAll(bodies.splice(0, Math.ceil(WARM_UP_SHARE * bodies.length)));
    const count = bodies.length * BATCH_EVENTS;
    const start = sampleOf(service, 0);
    await sendAll(bodies);
    return [start, sampleOf(service, count)];
  });
}

async function measured(
  mode: Mode,
  settings: Readonly<Record<string, string>>,
  measure: (service: Service) => Promise<[Sample, Sample]>,
): Promise<Figures> {
  const stores = await openStores({ needs: mode === "redis" ? ["redis", "mariadb"] : [] });
  const urls = { ...(mode === "redis" && { REDIS_URL: stores.redis!.url, MYSQL_URL: stores.mariaDb!.url }) };
  try {
    const service = await startService({ settings: { ...PRODUCTION, ...urls, ...settings } });
    try {
      const [start, end] = await measure(service);
      const events = end.events - start.events;
      return {
        eventsPerS: (1_000 * events) / (end.atMs - start.atMs),
        cpuUsPerEvent: (1_000 * (end.cpuMs - start.cpuMs)) / events,
      };
    } finally {
      await service.stop();
    }
  } finally {
    await stores.close();
  }
}

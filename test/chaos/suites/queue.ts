/**
 * Messages of a broker's queue, while whoever consumes them is killed and the broker is restarted, again and again:
 * each message is counted exactly once.
 *
 * Judged from outside: every number that was published has one row, the counts are those of the rows, and once the
 * instances have ended nothing has gone back to the queue.
 */
import { hourOf } from "../../../src/domain/event.ts";
import { ACKNOWLEDGED, Outcomes } from "../../harness/load/outcomes.ts";
import { Random } from "../../harness/pipeline/random.ts";
import { type RabbitMqServer, startRabbitMq } from "../../harness/servers/rabbitmq.ts";
import { readHour } from "../../harness/service/analytics-client.ts";
import { ask } from "../../harness/service/http-connection.ts";
import { type ChildProgram, startChild } from "../load/child-program.ts";
import { rowsArrived, tallyProblems, tallyRows } from "../load/numbered-rows.ts";
import type { QueuePublisherOptions, QueuePublisherResult } from "../load/queue-publisher.ts";
import { type ChaosSite, openSite, type SiteMode } from "../site/chaos-site.ts";
import { type Report, type Say, secondsSince } from "../verdict/report.ts";

export interface QueueOptions {
  readonly mode: SiteMode;
  readonly messages: number;
  readonly kills: number;
  readonly brokerRestarts: number;
  /** At which messages are published; undefined: as fast as the broker takes them. */
  readonly ratePerS?: number | undefined;
  readonly seed: number;
  /** It is given up once nothing has moved for so long. */
  readonly stallMs?: number;
  readonly say: Say;
}

const QUEUE = "events";
const PREFIX = "q-";
const DEFAULT_STALL_MS = 60_000;
/** An instance that is back has to adopt what the killed one left. */
const SETTINGS = { LEASE_MS: "2000" };
/** Five times the standard error of the sketch. */
const USERS_TOLERANCE = 0.04;

type Publishing = ChildProgram<QueuePublisherResult>;

export async function runQueue(options: QueueOptions): Promise<Report> {
  const broker = await startRabbitMq();
  try {
    await broker.declare(QUEUE);
    const settings = { ...SETTINGS, AMQP_URL: broker.url, AMQP_QUEUE: QUEUE };
    const site = await openSite({ mode: options.mode, settings });
    try {
      return await shake(site, broker, options);
    } finally {
      await site.close();
    }
  } finally {
    await broker.stop();
  }
}

async function shake(site: ChaosSite, broker: RabbitMqServer, options: QueueOptions): Promise<Report> {
  const { mode, messages, kills, brokerRestarts, seed, stallMs = DEFAULT_STALL_MS, say } = options;
  const startMs = performance.now();
  const hour = hourOf(Date.now());
  const publishing: Publishing = startChild<QueuePublisherOptions, QueuePublisherResult>("queue-publisher.ts", {
    ...{ url: broker.url, queue: QUEUE, prefix: PREFIX },
    ...{ messages, hour, ratePerS: options.ratePerS },
  });
  const problems: string[] = [];
  try {
    const duplicates = await inflict(site, broker, options);
    const published = await publishing.result;
    if (!(await rowsArrived(site, messages, stallMs))) problems.push("it does not drain");
    const seconds = secondsSince(startMs);
    say(`all are stored after ${seconds} s`);
    problems.push(...(await countProblems(site, hour, messages)));
    const seen = duplicates + (await duplicatesOf(site));
    for (const { service } of site.instances) await service.kill("SIGTERM");
    const left = await broker.depth(QUEUE);
    if (left > 0) problems.push(`${left} messages went back to the queue when the instances ended`);
    const outcomes = new Outcomes();
    for (let number = 0; number < messages; number++) outcomes.set(number, ACKNOWLEDGED);
    const tally = (await tallyRows(site, new Map([[PREFIX, outcomes]]))).get(PREFIX)!;
    problems.push(...tallyProblems("the queue", tally));
    const figures = {
      messages,
      rows: tally.rows,
      lost: tally.lost,
      doubled: tally.doubled,
      "consumers killed": kills,
      "broker restarts": brokerRestarts,
      "messages published twice, after a restart": published.sendings - messages,
      "duplicates seen by instances that lived to tell": seen,
      seconds,
      "messages a second, with all faults": Math.round(messages / seconds),
    };
    return { name: `queue, ${mode}`, seed, figures, problems, evidence: logsOf(site) };
  } finally {
    await publishing.stop();
  }
}

/** Answers how many duplicates were seen by those that were killed then. */
async function inflict(site: ChaosSite, broker: RabbitMqServer, options: QueueOptions): Promise<number> {
  const { messages, kills, brokerRestarts, seed, stallMs = DEFAULT_STALL_MS, say } = options;
  const random = new Random(seed);
  const faults = [
    ...Array.from({ length: kills }, () => "kill" as const),
    ...Array.from({ length: brokerRestarts }, () => "restart" as const),
  ];
  let duplicates = 0;
  for (let done = 0; faults.length > 0; done++) {
    const share = (done + 1) / (kills + brokerRestarts + 2);
    await rowsArrived(site, Math.floor(share * messages), stallMs);
    const [fault] = faults.splice(random.below(faults.length), 1);
    const rows = await site.cold.countEvents();
    if (fault === "restart") {
      const signal = random.chance(0.5) ? "SIGKILL" : "SIGTERM";
      say(`the broker is restarted (${signal}) at ${rows} rows`);
      await broker.kill(signal);
      await broker.start();
    } else {
      const { name, service } = random.pick(site.instances);
      duplicates += await duplicatesOf(site);
      say(`consumer ${name} is killed at ${rows} rows`);
      await service.kill("SIGKILL");
      await service.start();
    }
  }
  return duplicates;
}

async function duplicatesOf({ instances }: ChaosSite): Promise<number> {
  let sum = 0;
  for (const { service } of instances) {
    const { body } = await ask(service.port, { method: "GET", target: "/ledger" });
    sum += (JSON.parse(body) as { instance: { duplicates: number } }).instance.duplicates;
  }
  return sum;
}

async function countProblems(site: ChaosSite, hour: number, messages: number): Promise<string[]> {
  const problems: string[] = [];
  for (const { name, service } of site.instances) {
    const { clicks, impressions, uniqueUsers } = await readHour(service.port, hour);
    const found = `${name} reads ${clicks} clicks, ${impressions} impressions, ${uniqueUsers} users`;
    const areUsersNear = Math.abs(uniqueUsers - messages) <= USERS_TOLERANCE * messages;
    if (clicks + impressions === messages && clicks === Math.ceil(messages / 2) && areUsersNear) continue;
    problems.push(`${found}, of ${messages} messages`);
  }
  return problems;
}

function logsOf({ instances }: ChaosSite): string[] {
  return instances.map(({ name, service }) => `the log of ${name}:\n${service.log().trim()}`);
}

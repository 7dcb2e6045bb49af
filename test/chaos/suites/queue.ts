/**
 * Messages of a broker's queue while consumers are killed, one leaves and joins again, and the broker is restarted:
 * each message is counted exactly once.
 *
 * Judged from outside: every published number has one row, counts equal rows, and once the instances have ended nothing
 * has gone back to the queue.
 */
import { hourOf } from "../../../src/domain/event.ts";
import { ACKNOWLEDGED, Outcomes } from "../../harness/load/outcomes.ts";
import { Random } from "../../harness/pipeline/random.ts";
import { readHour } from "../../harness/service/analytics-client.ts";
import { ask } from "../../harness/service/http-connection.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { rowsArrived, tallyProblems, tallyRows } from "../load/numbered-rows.ts";
import { type ChaosSite, type Instance, openSite, type SiteMode } from "../site/chaos-site.ts";
import { type BrokerKind, type QueueBroker, startQueueBroker } from "../site/queue-brokers.ts";
import { type Report, type Say, secondsSince } from "../verdict/report.ts";

export interface QueueOptions {
  readonly mode: SiteMode;
  readonly broker: BrokerKind;
  /** Whether events name ids of their own, or messages do. */
  readonly hasIds: boolean;
  readonly messages: number;
  readonly kills: number;
  readonly brokerRestarts: number;
  /** The publishing rate; undefined: as fast as the broker accepts messages. */
  readonly ratePerS?: number | undefined;
  readonly seed: number;
  /** It is given up once nothing has moved for so long. */
  readonly stallMs?: number;
  readonly say: Say;
}

type Fault = "kill" | "restart the broker" | "leave or join";

/** In redis mode, where one of them leaves and joins again. An embedded instance is alone. */
const INSTANCES = 3;
const PREFIX = "q-";
const DEFAULT_STALL_MS = 60_000;
/** An instance that is back has to adopt what the killed one left. */
const SETTINGS = { LEASE_MS: "2000" };
/** Five times the standard error of the sketch. */
const USERS_TOLERANCE = 0.04;

export async function runQueue(options: QueueOptions): Promise<Report> {
  const broker = await startQueueBroker(options.broker);
  try {
    const site = await openSite({
      ...{ mode: options.mode, instances: INSTANCES },
      settings: { ...SETTINGS, ...broker.settings },
    });
    try {
      return await shake(site, broker, options);
    } finally {
      await site.close();
    }
  } finally {
    await broker.server.stop();
  }
}

async function shake(site: ChaosSite, broker: QueueBroker, options: QueueOptions): Promise<Report> {
  const { mode, messages, kills, brokerRestarts, hasIds, seed, stallMs = DEFAULT_STALL_MS, say } = options;
  const startMs = performance.now();
  const hour = hourOf(Date.now());
  const publishing = broker.publish({ messages, hour, prefix: PREFIX, hasIds, ratePerS: options.ratePerS });
  const problems: string[] = [];
  try {
    const duplicates = await inflict(site, broker, options);
    const published = await publishing.result;
    // Without ids, what the publisher sent twice is two messages.
    const expected = hasIds ? messages : ((await broker.total()) ?? messages);
    if (!(await rowsArrived(site, expected, stallMs))) problems.push("it does not drain");
    const seconds = secondsSince(startMs);
    say(`all are stored after ${seconds} s`);
    problems.push(...(await countProblems(site, hour, expected, options)));
    const seen = duplicates + (await duplicatesOf(site.instances));
    // What a killed consumer had stored, and not yet confirmed, is a duplicate of the next one, once that has joined.
    const isConsumed = async () => (await broker.left()) === 0;
    await waitFor("the broker to have nothing left", isConsumed, { timeoutMs: stallMs }).catch(() => {});
    for (const { service } of site.instances) await service.kill("SIGTERM");
    const left = await broker.left();
    if (left > 0) problems.push(`${left} messages were left to the broker when the instances ended`);
    const outcomes = new Outcomes();
    for (let number = 0; number < messages; number++) outcomes.set(number, ACKNOWLEDGED);
    const tally = (await tallyRows(site, new Map([[PREFIX, outcomes]]))).get(PREFIX)!;
    const { sendings } = published;
    if (hasIds) problems.push(...tallyProblems("the queue", tally));
    else if (tally.lost > 0 || tally.rows !== expected || expected - messages > sendings - messages)
      problems.push(`${tally.lost} lost, and ${tally.rows} rows of ${expected} messages`);
    const figures = {
      messages,
      rows: tally.rows,
      lost: tally.lost,
      doubled: tally.rows - expected,
      instances: site.instances.length,
      "consumers killed": kills,
      "broker restarts": brokerRestarts,
      "messages published twice, after a restart": hasIds ? sendings - messages : expected - messages,
      "duplicates seen by instances that lived to tell": seen,
      seconds,
      "messages a second, with all faults": Math.round(messages / seconds),
    };
    const name = `queue, ${options.broker}${hasIds ? "" : " without ids"}, ${mode}`;
    return { name, seed, figures, problems, evidence: logsOf(site) };
  } finally {
    await publishing.stop();
  }
}

/** Answers how many duplicates were seen by instances that ended. */
async function inflict(site: ChaosSite, broker: QueueBroker, options: QueueOptions): Promise<number> {
  const { messages, seed, stallMs = DEFAULT_STALL_MS, say } = options;
  const random = new Random(seed);
  const faults = faultsOf(site, options);
  const gaps = faults.length + 1;
  let duplicates = 0;
  let absent: Instance | undefined;
  for (let done = 1; faults.length > 0; done++) {
    await rowsArrived(site, Math.floor((done / gaps) * messages), stallMs);
    const [fault] = faults.splice(random.below(faults.length), 1);
    const rows = await site.cold.countEvents();
    if (fault === "restart the broker") {
      const signal = random.chance(0.5) ? "SIGKILL" : "SIGTERM";
      say(`the broker is restarted (${signal}) at ${rows} rows`);
      await broker.server.kill(signal);
      await broker.server.start();
    } else if (fault === "leave or join" && absent !== undefined) {
      say(`consumer ${absent.name} joins again at ${rows} rows`);
      await absent.service.start();
      absent = undefined;
    } else {
      const instance = random.pick(site.instances.filter((one) => one !== absent));
      const signal = fault === "kill" ? "SIGKILL" : "SIGTERM";
      duplicates += await duplicatesOf([instance]);
      say(`consumer ${instance.name} ${fault === "kill" ? "is killed" : "leaves"} at ${rows} rows`);
      await instance.service.kill(signal);
      if (fault === "kill") await instance.service.start();
      else absent = instance;
    }
  }
  return duplicates;
}

function faultsOf({ instances }: ChaosSite, { kills, brokerRestarts }: QueueOptions): Fault[] {
  const times = (count: number, fault: Fault) => Array.from({ length: count }, () => fault);
  const changes = times(instances.length > 1 ? 2 : 0, "leave or join");
  return [...times(kills, "kill"), ...times(brokerRestarts, "restart the broker"), ...changes];
}

async function duplicatesOf(instances: readonly Instance[]): Promise<number> {
  let sum = 0;
  for (const { service } of instances) {
    const { body } = await ask(service.port, { method: "GET", target: "/ledger" });
    sum += (JSON.parse(body) as { instance: { duplicates: number } }).instance.duplicates;
  }
  return sum;
}

/** `expected`: rows; more than there are numbers if some were published twice without ids. */
async function countProblems(
  site: ChaosSite,
  hour: number,
  expected: number,
  { messages }: QueueOptions,
): Promise<string[]> {
  const problems: string[] = [];
  for (const { name, service } of site.instances) {
    const { clicks, impressions, uniqueUsers } = await readHour(service.port, hour);
    const found = `${name} reads ${clicks} clicks, ${impressions} impressions, ${uniqueUsers} users`;
    const areUsersNear = Math.abs(uniqueUsers - messages) <= USERS_TOLERANCE * messages;
    const areKindsRight = expected > messages || clicks === Math.ceil(messages / 2);
    if (clicks + impressions === expected && areKindsRight && areUsersNear) continue;
    problems.push(`${found}, of ${expected} messages`);
  }
  return problems;
}

function logsOf({ instances }: ChaosSite): string[] {
  return instances.map(({ name, service }) => `the log of ${name}:\n${service.log().trim()}`);
}

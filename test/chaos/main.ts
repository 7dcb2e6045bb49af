#!/usr/bin/env bun
/**
 * `npm run chaos -- <suite>`: shakes the service for as long as is asked for, and says what it saw. Ends with 0
 * only if everything held. Everything that it starts is in folders and on ports of its own, and ends with it.
 */
import { Command, InvalidArgumentError } from "commander";
import type { Settings, SiteMode } from "./site/chaos-site.ts";
import type { GroupKind } from "./site/group-site.ts";
import { BROKER_KINDS, type BrokerKind } from "./site/queue-brokers.ts";
import { runCluster } from "./suites/cluster.ts";
import { runDiskFull } from "./suites/disk-full.ts";
import { runFaults } from "./suites/faults.ts";
import { runFuzz } from "./suites/fuzz.ts";
import { runMysqlAway } from "./suites/mysql-away.ts";
import { runOverload } from "./suites/overload.ts";
import { runQueue } from "./suites/queue.ts";
import { runRedisAway } from "./suites/redis-away.ts";
import { runSoak } from "./suites/soak.ts";
import { runTeeth } from "./suites/teeth.ts";
import { exitCodeOf, type Report, reportText } from "./verdict/report.ts";

function whole(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new InvalidArgumentError("Expected a whole number.");
  return Number(text);
}

function mode(text: string): SiteMode {
  if (text !== "redis" && text !== "embedded") throw new InvalidArgumentError("Expected redis or embedded.");
  return text;
}

function brokerKind(text: string): BrokerKind {
  const kind = BROKER_KINDS.find((known) => known === text);
  if (kind === undefined) throw new InvalidArgumentError(`Expected ${BROKER_KINDS.join(", ")}.`);
  return kind;
}

function groupKind(text: string): GroupKind {
  if (text !== "cluster" && text !== "sentinel") throw new InvalidArgumentError("Expected cluster or sentinel.");
  return text;
}

function settings(text: string, before: Settings): Settings {
  const [, name, value] = /^([A-Z_]+)=(.*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new InvalidArgumentError("Expected NAME=value.");
  return { ...before, [name]: value };
}

const say = (line: string) => console.error(`… ${line}`);

async function run(suite: Promise<Report>): Promise<never> {
  const report = await suite;
  console.log(reportText(report));
  process.exit(exitCodeOf(report));
}

const program = new Command("chaos").description("shakes the service, and says what it saw");

/**
 * `npm run chaos -- <suite>`: shakes the service for the requested time and reports its findings. Exits with 0 only if
 * everything held, with 2 if the suite could not run here. Everything it starts is in its own folders and on its own
 * ports, and ends with it.
 */
function suite(name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option("--seed <n>", "of all random choices", whole, Math.floor(Math.random() * 2 ** 32))
    .hook("preAction", (_, command) => say(`${name}, seed ${command.opts()["seed"]}`));
}

suite("faults", "random faults under load: nothing is lost or doubled")
  .option("--faults <n>", "how many", whole, 200)
  .option("--mode <mode>", "redis or embedded", mode, "redis")
  .option("--shards <n>", "of Redis", whole, 1)
  .option("--rate <n>", "events per second", whole, 500)
  .option("--stall-seconds <n>", "how long a drain in which nothing moves is waited for", whole, 40)
  .action(({ faults, mode, shards, seed, rate, stallSeconds }) => {
    const rest = { ratePerS: rate, drainStallMs: 1_000 * stallSeconds, say };
    return run(runFaults({ faults, mode, shards, seed, ...rest }));
  });

suite("mysql-away", "MySQL away at a steady rate, over the turn of an hour")
  .option("--seconds <n>", "how long it is away", whole, 60)
  .option("--rate <n>", "events per second", whole, 500)
  .action(({ seconds, seed, rate }) => run(runMysqlAway({ seconds, seed, ratePerS: rate, say })));

suite("redis-away", "Redis frozen and killed in turns: refused within a second, back by itself")
  .option("--times <n>", "how often", whole, 20)
  .option("--rate <n>", "events per second", whole, 500)
  .action(({ times, seed, rate }) => run(runRedisAway({ times, seed, ratePerS: rate, say })));

suite("cluster", "Redis Cluster or Sentinels: masters replaced, a slot moved, instances killed and added")
  .option("--redis <kind>", "cluster or sentinel", groupKind, "cluster")
  .option("--rounds <n>", "how often each fault strikes", whole, 5)
  .option("--rate <n>", "events per second", whole, 500)
  .option("--set <settings...>", "more settings of the service, as NAME=value", settings, {})
  .action(({ redis, rounds, rate, set, seed }) => {
    return run(runCluster({ redis, rounds, ratePerS: rate, settings: set, seed, say }));
  });

suite("overload", "twice the rate that the machine can take")
  .option("--seconds <n>", "how long", whole, 60)
  .option("--mode <mode>", "redis or embedded", mode, "embedded")
  .option("--connections <n>", "how many", whole, 12_000)
  .action(({ seconds, seed, mode, connections }) => {
    return run(runOverload({ seconds, seed, mode, connections, say }));
  });

suite("disk-full", "a small disk, filled and freed at random instants; needs root")
  .option("--fills <n>", "how often", whole, 20)
  .option("--rate <n>", "events per second", whole, 300)
  .action(({ fills, seed, rate }) => run(runDiskFull({ fills, seed, ratePerS: rate, say })));

suite("queue", "messages of a queue, consumers killed, the broker restarted: each counted once")
  .option("--broker <kind>", "rabbitmq, kafka or activemq", brokerKind, "rabbitmq")
  .option("--no-ids", "Kafka: events name no ids, so that the places of messages do")
  .option("--messages <n>", "how many", whole, 100_000)
  .option("--kills <n>", "how often a consumer is killed", whole, 10)
  .option("--broker-restarts <n>", "how often the broker is restarted", whole, 2)
  .option("--mode <mode>", "redis or embedded", mode, "redis")
  .option("--rate <n>", "messages per second; as many as the broker takes, unless it is set", whole)
  .option("--stall-seconds <n>", "how long rows that do not come are waited for", whole, 60)
  .action(({ broker, ids: hasIds, messages, kills, brokerRestarts, rate, stallSeconds, seed, mode }) => {
    const rest = { ratePerS: rate, stallMs: 1_000 * stallSeconds, seed, mode, say };
    return run(runQueue({ broker, hasIds, messages, kills, brokerRestarts, ...rest }));
  });

suite("fuzz", "generated requests, from valid ones to random bytes")
  .option("--requests <n>", "how many", whole, 1_000_000)
  .option("--mode <mode>", "redis or embedded", mode, "embedded")
  .action(({ requests, seed, mode }) => run(runFuzz({ requests, seed, mode, say })));

suite("soak", "70 % of the highest rate: nothing grows")
  .option("--seconds <n>", "how long", whole, 600)
  .option("--mode <mode>", "redis or embedded", mode, "embedded")
  .action(({ seconds, seed, mode }) => run(runSoak({ seconds, seed, mode, say })));

suite("teeth", "each promise broken on purpose, in a copy: the suite or a test has to notice")
  .option("--only <names...>", "mutations by their names", [])
  .action(({ only, seed }) => run(runTeeth({ only, seed, say })));

await program.parseAsync();

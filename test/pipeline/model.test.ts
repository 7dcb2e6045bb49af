/**
 * Any sequence of events, flushes, passing hours, restarts, kills, losses and reads gives the same answers as a plain
 * model, which keeps all events in an array. A failure prints the seed and the shortest failing sequence.
 */

import { afterAll, beforeAll, expect } from "bun:test";
import fc from "fast-check";
import { type Event, HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { ID_TTL_MS } from "../../src/domain/event-ids.ts";
import type { Outcome } from "../../src/domain/refusal-reasons.ts";
import {
  answerOf,
  ClusterSite,
  clusterMode,
  hourAt,
  type Instance,
  NOON,
  onMethod,
  type PipelineMode,
  pipelineModes,
  type Site,
} from "../harness/pipeline/pipeline-harness.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { waitFor } from "../harness/service/wait-for.ts";
import { type Budgets, budgetTest } from "../harness/tiers.ts";

const RUNS: Readonly<Record<PipelineMode["name"], Budgets<number>>> = {
  embedded: { quick: 40, full: 200, timeoutMs: 200_000 },
  "redis+mysql": { quick: 10, full: 60, timeoutMs: 400_000 },
};
/** A sequence that hangs fails by this, so that its seed and its steps are told. */
const RUN_TIMEOUT_MS = 90_000;
/** Includes the search for a shorter counterexample. */
const TIME_LIMIT_MS = 350_000;

const STREAMS = ["default", "site-1", "a.b-c_d"];
/** Relative to the hour of the start: the clock goes on from there. */
const HOURS = { min: -5, max: 8 };
const HOT_HOURS = 3;
const LEASE_MS = 100;

/** Everything that was taken, and which ids are known until when. */
class Model {
  readonly events: Event[] = [];
  readonly #knownUntil = new Map<string, number>();
  /** Redis forgets an id by its own clock, which no test turns: not at all. */
  readonly #idLifetimeMs: number;

  constructor(idLifetimeMs: number) {
    this.#idLifetimeMs = idLifetimeMs;
  }

  take(events: readonly Event[], now: number): void {
    for (const event of events) if (this.#isNew(event, now)) this.events.push(event);
  }

  #isNew({ stream, id }: Event, now: number): boolean {
    if (id === undefined) return true;
    const name = `${stream} ${id}`;
    if ((this.#knownUntil.get(name) ?? Number.NEGATIVE_INFINITY) > now) return false;
    this.#knownUntil.set(name, now + this.#idLifetimeMs);
    return true;
  }

  inHour(stream: string, hour: number): Event[] {
    return this.events.filter((event) => event.stream === stream && hourOf(event.at) === hour);
  }
}

/** The system under test: one instance at a time, which flushes only when it is told to. */
class System {
  readonly site: Site;
  #instance: Instance | undefined;
  #gate = Promise.withResolvers<void>();
  /** Reasons of refusals that end by themselves. */
  readonly #passingReasons = new Set<string | undefined>();

  constructor(site: Site) {
    this.site = site;
  }

  get instance(): Instance {
    return this.#instance!;
  }

  get isCluster(): boolean {
    return this.site instanceof ClusterSite;
  }

  async start(): Promise<void> {
    this.#gate = Promise.withResolvers<void>();
    this.#instance = undefined;
    this.#instance = await this.site.start(
      // A ring that is soon full, and flushes of a few batches each: every way through the flusher is taken.
      {
        ringCapacityEvents: 8,
        flushMaxEvents: 6,
        flushIntervalMs: 5,
        hotHours: HOT_HOURS,
        maxStreams: 1_000,
        leaseMs: LEASE_MS,
      },
      onMethod("cold.flush", async (call) => {
        // What an earlier instance left is adopted without being told to.
        if (this.#writers.includes(String(call.args[0]))) await this.#gate.promise;
        return await call.proceed();
      }),
    );
    await waitFor("events to be taken", () =>
      this.instance.pipeline.shardStates.every(({ refusal }) => refusal === undefined),
    );
  }

  /** The present instance's writers, one per shard. */
  get #writers(): (string | undefined)[] {
    return this.#instance?.pipeline.shardStates.map(({ writer }) => writer) ?? [];
  }

  /**
   * After a loss events are refused until the store has recovered, if they have waited for a second, and those with an
   * id until the ids were restored: their client sends them again.
   */
  async take(events: readonly Event[]): Promise<void> {
    let rest = events;
    const refused: Outcome[] = [];
    await waitFor("the store to recover", async () => {
      const outcomes = await this.instance.submit(...rest);
      const isToCome = (i: number) => this.#passingReasons.has(outcomes[i]?.reason);
      refused.push(...outcomes.filter((outcome, i) => outcome !== undefined && !isToCome(i)));
      rest = rest.filter((_, i) => isToCome(i));
      return rest.length === 0 || refused.length > 0;
    });
    expect(refused).toEqual([]);
  }

  async flush(): Promise<void> {
    this.#gate.resolve();
    await this.instance.drained();
    this.#gate = Promise.withResolvers<void>();
  }

  async restart(): Promise<void> {
    this.#gate.resolve();
    await this.instance.stop();
    await this.start();
  }

  /** Kills it with events in flight, which their client resends. */
  async kill(underWay: readonly Event[]): Promise<void> {
    void this.instance.submit(...underWay);
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.site.kill(this.instance);
    await this.start();
    await this.take(underWay);
  }

  /** All of it is in the cold store before Redis loses its data, which is given the ids of there again. */
  async loseRedis(): Promise<void> {
    const site = this.site as ClusterSite;
    await this.flush();
    await this.onlyOwnJournalLeft();
    await site.flushRedis();
    this.#passingReasons.add("restoring_ids").add("hot_store_away");
  }

  async onlyOwnJournalLeft(): Promise<void> {
    const site = this.site as ClusterSite;
    await waitFor("earlier journals to be adopted", async () => {
      return (await site.journals()).length <= site.shards;
    });
  }

  async end(model: Model): Promise<void> {
    this.#gate.resolve();
    if (this.isCluster) await this.onlyOwnJournalLeft();
    await this.instance.drained();
    await this.site.expectStored(model.events);
  }

  async close(): Promise<void> {
    this.#gate.resolve();
    await this.site.close();
  }
}

interface Step {
  readonly run: (system: System, model: Model) => Promise<void>;
  readonly text: string;
}

function step(text: string, run: Step["run"]): Step {
  return { text, run };
}

const streams = fc.constantFrom(...STREAMS);
const users = fc.nat(12).map((n) => `user-${n}`);
const ats = fc
  .tuple(fc.integer(HOURS), fc.constantFrom(0, 1, HOUR_MS / 2, HOUR_MS - 1))
  .map(([hours, ms]) => NOON + hours * HOUR_MS + ms);
const plainEvents: fc.Arbitrary<Event> = fc.record({
  stream: streams,
  at: ats,
  kind: fc.constantFrom("click", "impression"),
  user: users,
});

/** An id stands for one event, as with a client that sends that again: it comes in any order, to any hour. */
const eventsWithId = fc.tuple(streams, fc.nat(15)).map(([stream, n]): Event => {
  const at = NOON + ((n % 7) - 4) * HOUR_MS;
  return { stream, at, kind: n % 2 === 0 ? "click" : "impression", user: `user-${n % 5}`, id: `id-${n}` };
});

const batches = fc.array(fc.oneof(plainEvents, eventsWithId), { minLength: 1, maxLength: 10 });

const takes = batches.map((events) =>
  step(`take ${events.length}: ${fc.stringify(events)}`, async (system, model) => {
    await system.take(events);
    model.take(events, system.site.clock.ms);
  }),
);

const reads = fc.tuple(streams, fc.integer({ min: HOURS.min - 1, max: HOURS.max + 1 })).map(([stream, hours]) =>
  step(`read ${stream} ${hours}`, async (system, model) => {
    await expectHour(system, model, stream, NOON + hours * HOUR_MS);
  }),
);

const flushes = fc.constant(step("flush", (system) => system.flush()));

const passings = fc.integer({ min: 1, max: 5 }).map((hours) =>
  step(`${hours} h pass`, async (system) => {
    system.site.clock.advance(hours * HOUR_MS);
    await system.instance.pipeline.retire();
  }),
);

const restarts = fc.constant(step("restart", (system) => system.restart()));

const kills = fc.array(eventsWithId, { maxLength: 5 }).map((underWay) =>
  step(`kill, with under way: ${fc.stringify(underWay)}`, async (system, model) => {
    await system.kill(underWay);
    model.take(underWay, system.site.clock.ms);
  }),
);

const losses = fc.constant(
  step("lose Redis", async (system) => {
    if (!system.isCluster) return;
    await system.loseRedis();
  }),
);

const steps = fc.oneof(
  { arbitrary: takes, weight: 10 },
  { arbitrary: reads, weight: 5 },
  { arbitrary: flushes, weight: 3 },
  { arbitrary: passings, weight: 2 },
  { arbitrary: restarts, weight: 1 },
  { arbitrary: kills, weight: 2 },
  { arbitrary: losses, weight: 1 },
);

const sequences = fc.array(steps, { minLength: 1, maxLength: 30 });

async function expectHour(system: System, model: Model, stream: string, hour: number): Promise<void> {
  const { isDegraded: _, ...expected } = answerOf(model.inHour(stream, hour));
  // Incomplete or not, all that was taken is in one store or the other: only ever told after a loss.
  const { isDegraded, ...answer } = await system.instance.read(hourAt(hour, stream));
  expect(answer).toEqual(expected);
  if (!system.isCluster) expect(isDegraded).toBe(false);
}

async function expectAllHours(system: System, model: Model): Promise<void> {
  await system.instance.serves(hourAt(NOON));
  for (const stream of STREAMS) {
    for (let hours = HOURS.min; hours <= HOURS.max; hours++) {
      await expectHour(system, model, stream, NOON + hours * HOUR_MS);
    }
  }
}

for (const mode of [...pipelineModes(), clusterMode(3)]) {
  describeWithServers(`pipeline against a model: ${mode.title}`, mode.needs, () => {
    beforeAll(() => mode.prepare());
    afterAll(() => mode.end());

    budgetTest("any sequence of steps answers as the model does", RUNS[mode.name], async (numRuns) => {
      const property = fc.asyncProperty(sequences, async (sequence) => {
        const system = new System(await mode.open());
        const model = new Model(mode.name === "embedded" ? ID_TTL_MS : Number.POSITIVE_INFINITY);
        try {
          await system.start();
          for (const { run } of sequence) await run(system, model);
          await expectAllHours(system, model);
          await system.end(model);
        } finally {
          await system.close();
        }
      });
      await fc.assert(property, {
        numRuns,
        timeout: RUN_TIMEOUT_MS,
        interruptAfterTimeLimit: TIME_LIMIT_MS,
        markInterruptAsFailure: true,
      });
    });
  });
}

/**
 * Judges a site once everything is healed and all events are acknowledged: rows = counts = acknowledged, each exactly
 * once; aggregates and sketches follow from the rows; all instances read the same.
 */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { createClient } from "redis";
import { hourKeyName } from "../../../src/domain/event.ts";
import { errorText } from "../../../src/runtime/error-text.ts";
import { type Counts, readHour } from "../../harness/service/analytics-client.ts";
import { ask } from "../../harness/service/http-connection.ts";
import { rowFaults } from "../../harness/service/load.ts";
import { expectHoursToBeReplay, replay, type StoredEvent } from "../../harness/service/stored.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import type { ChaosEvent } from "../load/clients.ts";
import type { ChaosSite, Instance } from "../site/chaos-site.ts";

export interface Verdict {
  readonly rows: number;
  readonly lost: number;
  readonly doubled: number;
  readonly drainS: number;
  readonly problems: readonly string[];
  /** About the events that went wrong, and the instances' own state. */
  readonly evidence: readonly string[];
}

export interface VerdictOptions {
  readonly site: ChaosSite;
  readonly events: readonly ChaosEvent[];
  /** It is given up once nothing has moved for so long. */
  readonly drainStallMs: number;
}

const POLL_MS = 200;
/** Evidence is printed for so many events. */
const EVIDENCE_MAX = 10;

export async function judge({ site, events, drainStallMs }: VerdictOptions): Promise<Verdict> {
  const startMs = performance.now();
  const problems = await drain(site, events, drainStallMs);
  const drainS = Math.round((performance.now() - startMs) / 100) / 10;
  const rows = await site.cold.events();
  const rowsById = Map.groupBy(rows, ({ id }) => id ?? "");
  const rowsOf = (event: ChaosEvent) => rowsById.get(event.id) ?? [];
  const lost = events.filter((event) => event.fate === "acknowledged" && rowsOf(event).length === 0);
  const doubled = events.filter((event) => rowsOf(event).length > 1);
  problems.push(...rowFaults(events, rows));
  problems.push(...(await aggregateProblems(site, rows)), ...(await readProblems(site, rows)));
  const evidence = problems.length === 0 ? [] : await statesOf(site);
  for (const event of [...lost, ...doubled].slice(0, EVIDENCE_MAX)) {
    evidence.push(await evidenceOf(site, event, rowsOf(event)));
  }
  return { rows: rows.length, lost: lost.length, doubled: doubled.length, drainS, problems, evidence };
}

/** Until there are as many rows as events, and no journal is left but the empty ones of the living. */
async function drain(site: ChaosSite, events: readonly ChaosEvent[], stallMs: number): Promise<string[]> {
  const acknowledged = events.filter(({ fate }) => fate === "acknowledged").length;
  let last = "";
  let movedMs = performance.now();
  for (;;) {
    const left = await leftToDrain(site, acknowledged).catch(errorText);
    if (left === undefined) return [];
    if (left !== last) movedMs = performance.now();
    if (performance.now() - movedMs > stallMs) return [`it does not drain: ${left}`];
    last = left;
    await Bun.sleep(POLL_MS);
  }
}

/** Undefined if nothing is. */
async function leftToDrain(site: ChaosSite, acknowledged: number): Promise<string | undefined> {
  const rows = await site.cold.countEvents();
  if (rows < acknowledged) return `${rows} of ${acknowledged} events are rows`;
  const journals = (await Promise.all((await redisUrls(site)).map(redisJournals))).flat();
  const entries = journals.reduce((sum, { length }) => sum + length, 0);
  if (entries > 0) return `${entries} batches are left in journals`;
  // An instance has one in each shard.
  const most = Math.max(
    0,
    ...Map.groupBy(journals, ({ shard }) => shard)
      .values()
      .map(({ length }) => length),
  );
  if (most <= site.instances.length) return undefined;
  return `${most} journals in a shard for ${site.instances.length} instances: not all are adopted`;
}

export async function aggregateProblems(site: ChaosSite, rows: readonly StoredEvent[]): Promise<string[]> {
  try {
    expectHoursToBeReplay(await site.cold.hours(), rows, await site.cold.userHash());
    return [];
  } catch (error) {
    return [`the hourly table is not what its rows give: ${Bun.stripANSI(errorText(error))}`];
  }
}

async function readProblems(site: ChaosSite, rows: readonly StoredEvent[]): Promise<string[]> {
  const problems: string[] = [];
  for (const { stream, hour, clicks, impressions, users } of replay(rows, await site.cold.userHash()).values()) {
    const expected = JSON.stringify({ uniqueUsers: users.count(), clicks, impressions });
    for (const { name, service } of site.instances) {
      const counts = await wholeRead(service.port, hour, stream).then(JSON.stringify, errorText);
      const what = `${name} reads ${hourKeyName(stream, hour)} as ${counts}`;
      if (counts !== expected) problems.push(`${what}; its rows give ${expected}`);
    }
  }
  return problems;
}

/** An instance that has just found its Redis silent says so with its answer: it is asked again. */
function wholeRead(port: number, hour: number, stream: string): Promise<Counts> {
  return waitFor(`a whole read on :${port}`, () => readHour(port, hour, stream), { intervalMs: POLL_MS });
}

/** All that the stores know of an event that went wrong. */
async function evidenceOf(site: ChaosSite, event: ChaosEvent, rows: readonly StoredEvent[]): Promise<string> {
  const traces = (await redisUrls(site)).map((url) => redisTraces(url, event));
  const journal =
    site.redisUrlOf === undefined ? await embeddedJournal(site, event) : (await Promise.all(traces)).join("; ");
  const lines = [
    `event ${event.id} (${event.fate}) has ${rows.length} rows: ${JSON.stringify(rows)}`,
    `sendings: ${event.history.join("; ")}`,
    `journals: ${journal}`,
  ];
  return lines.join("\n           ");
}

function statesOf({ instances }: ChaosSite): Promise<string[]> {
  const stateOf = async ({ name, service }: Instance) => {
    const ready = await ask(service.port, { method: "GET", target: "/readyz" }).then(({ body }) => body, errorText);
    return `the log of ${name} (:${service.port}, ${ready}):\n${service.log().trim()}`;
  };
  return Promise.all(instances.map(stateOf));
}

async function withRedis<T>(url: string, use: (client: ReturnType<typeof clientOf>) => Promise<T>): Promise<T> {
  const client = clientOf(url);
  await client.connect();
  try {
    return await use(client);
  } finally {
    client.destroy();
  }
}

function clientOf(url: string) {
  return createClient({ url, RESP: 2 });
}

/** The most shards that any suite uses. */
const SHARDS_MAX = 8;

/** Each Redis that holds a shard; none if the stores are embedded. */
async function redisUrls({ redisUrlOf }: ChaosSite): Promise<string[]> {
  if (redisUrlOf === undefined) return [];
  const urls = Array.from({ length: SHARDS_MAX }, (_, shard) => redisUrlOf(`hg:{${shard}}:writers`));
  return [...new Set(await Promise.all(urls))];
}

interface Journal {
  /** The prefix of its keys. */
  readonly shard: string;
  readonly writer: string;
  readonly length: number;
}

async function redisJournals(url: string): Promise<Journal[]> {
  return await withRedis(url, async (client) => {
    const writers = await redisWriters(client);
    return await Promise.all(
      writers.map(async ({ shard, writer }) => {
        return { shard, writer, length: await client.xLen(`${shard}j:${writer}`) };
      }),
    );
  });
}

/** Writers of all shards. */
async function redisWriters(client: ReturnType<typeof clientOf>): Promise<Omit<Journal, "length">[]> {
  const lists = await client.keys("hg:{*}:writers");
  const found = await Promise.all(
    lists.map(async (key) => {
      const shard = key.slice(0, -"writers".length);
      return (await client.sMembers(key)).map((writer) => ({ shard, writer }));
    }),
  );
  return found.flat();
}

async function redisTraces(url: string, { stream, id }: ChaosEvent): Promise<string> {
  return await withRedis(url, async (client) => {
    const found = [`its id is known as ${(await client.keys(`hg:{*}:id:${stream}:${id}`)).join() || "nothing"}`];
    for (const { shard, writer } of await redisWriters(client)) {
      found.push(`${shard} ${writer} is ${JSON.stringify(await client.hGetAll(`${shard}w:${writer}`))}`);
      for (const { id: entry, message } of (await client.xRange(`${shard}j:${writer}`, "-", "+")) ?? []) {
        const { b: body, d: duplicates } = message;
        if (body?.includes(`"${id}"`)) found.push(`${writer} ${entry} (duplicates: ${duplicates})`);
      }
    }
    return found.join(", ");
  });
}

/** The running service has the file locked: it is ended for this. */
async function embeddedJournal(site: ChaosSite, { id }: ChaosEvent): Promise<string> {
  const { service } = site.instances[0]!;
  await service.kill();
  const database = new Database(join(site.dataDir!, "journal.sqlite"), { strict: true });
  try {
    const known = database.query("SELECT COUNT(*) AS n FROM ids WHERE id = ?").get(id) as {
      n: number;
    };
    const entries = database.query("SELECT writer, seq FROM journal WHERE instr(body, ?) > 0").all(`"${id}"`);
    return `its id is ${known.n === 0 ? "not known" : "known"}, ${JSON.stringify(entries)}`;
  } finally {
    database.close();
  }
}

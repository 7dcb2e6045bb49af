/**
 * GET /metrics, as Prometheus reads it. Invariants: the ledger is read in one tick, so that
 * accepted = persisted + pending + handed over + lost holds in every scrape. Of several processes on one port each
 * has its own samples, by its number: a sum would fall when one of them does not answer, and counters must not.
 */
import { Elysia } from "elysia";
import { AggregatorRegistry, Counter, collectDefaultMetrics, Gauge, type Registry } from "prom-client";
import { version } from "../../../package.json";
import type { Source, SourceState } from "../../intake/source.ts";
import type { Pipeline } from "../../pipeline/pipeline.ts";
import { registerBuckets } from "../../runtime/buckets.ts";
import type { StoreWatch } from "../../store/watch.ts";
import { NO_STORE } from "../answers.ts";
import type { RequestCounts } from "../requests/counts.ts";
import type { AppOptions, Siblings } from "../route-options.ts";

export function metrics(options: AppOptions, requestCounts: readonly RequestCounts[]) {
  const { registry } = options.metrics;
  collectDefaultMetrics({ register: registry });
  registerLedger(registry, options.pipeline);
  registerState(registry, options);
  registerRetention(registry, options);
  registerStores(registry, options);
  registerPastReads(registry, options);
  registerRequests(registry, requestCounts);
  if (options.sources.length > 0) registerSources(registry, options.sources);
  const text = textOf(registry, options.siblings);
  return new Elysia({ name: "metrics" }).get("/metrics", async () => {
    const headers = { "content-type": registry.contentType, ...NO_STORE };
    return new Response(await text(), { headers });
  });
}

function textOf(registry: Registry, siblings: Siblings | undefined): () => Promise<string> {
  if (siblings === undefined) return () => registry.metrics();
  registry.setDefaultLabels({ worker: String(siblings.worker) });
  // Nothing is added up, as each has its worker; and prom-client would leave out what has no sense added up.
  const own = async () => {
    const families = await registry.getMetricsAsJSON();
    return families.map((family) => ({ ...family, aggregator: "first" as const }));
  };
  siblings.tell(own);
  return async () => {
    const [others, mine] = await Promise.all([siblings.ask(), own()]);
    return await AggregatorRegistry.aggregate([mine, ...others]).metrics();
  };
}

/** A counter of something that is counted elsewhere. */
function mirrored(registry: Registry, name: string, help: string, value: () => number): void {
  new Counter({
    name,
    help,
    registers: [registry],
    collect() {
      this.reset();
      this.inc(value());
    },
  });
}

function byReason(registry: Registry, name: string, help: string, counts: Readonly<Record<string, number>>): void {
  new Counter({
    name,
    help,
    labelNames: ["reason"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [reason, count] of Object.entries(counts)) this.inc({ reason }, count);
    },
  });
}

function gauge(registry: Registry, name: string, help: string, value: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(value());
    },
  });
}

function registerLedger(registry: Registry, pipeline: Pipeline): void {
  const { ledger } = pipeline;
  const counters = {
    hourglass_events_accepted_total: ["Events that were acknowledged and count", () => ledger.accepted],
    hourglass_events_persisted_total: ["Of the accepted: in the cold store", () => ledger.persisted],
    hourglass_events_handed_over_total: [
      "Of the accepted: left to the adopter of the journal of a writer that was given up",
      () => ledger.handedOver,
    ],
    hourglass_events_lost_total: [
      "Of the accepted: in no store any more, since the hot store lost its journal",
      () => ledger.lost,
    ],
    hourglass_events_adopted_total: [
      "Accepted under another writer's name, and persisted from its journal",
      () => ledger.adopted,
    ],
    hourglass_events_duplicate_total: ["Acknowledged, and counted under their id before", () => ledger.duplicates],
    hourglass_events_unknown_total: [
      "Sent to the hot store, which did not answer in time: answered as unknown",
      () => ledger.unknown,
    ],
    hourglass_events_unknown_stored_total: [
      "Of the unknown: turned out to be stored, and accepted or a duplicate since then",
      () => ledger.unknownStored,
    ],
    hourglass_events_unknown_unstored_total: [
      "Of the unknown: turned out not to be stored, and will never count",
      () => ledger.unknownUnstored,
    ],
  } satisfies Record<string, [string, () => number]>;
  for (const [name, [help, value]] of Object.entries(counters)) mirrored(registry, name, help, value);
  byReason(registry, "hourglass_events_refused_total", "Not counted, and said so", ledger.refused);
  byReason(
    registry,
    "hourglass_events_omitted_total",
    "Of browsers: not counted since they wish so, or are bots",
    ledger.omitted,
  );
  new Gauge({
    name: "hourglass_events_pending",
    help: "Accepted and not persisted: in memory too, or in the journal alone",
    labelNames: ["in"],
    registers: [registry],
    collect() {
      const { events, ring } = pipeline.pending;
      this.set({ in: "ring" }, ring);
      this.set({ in: "journal" }, events - ring);
    },
  });
}

function registerState(registry: Registry, { pipeline, siblings }: AppOptions): void {
  const labels = { version };
  new Gauge({
    name: "hourglass_build_info",
    help: "1; the version that runs",
    labelNames: ["version"],
    registers: [registry],
    collect() {
      this.set(labels, 1);
    },
  });
  gauge(registry, "hourglass_workers", "Processes that share the port", () => siblings?.count ?? 1);
  gauge(registry, "hourglass_ring_capacity_events", "Pending events that are kept in memory", () => {
    return pipeline.ringCapacityEvents;
  });
  gauge(registry, "hourglass_journal_max_events", "Pending events above which new ones are refused", () => {
    return pipeline.journalMaxEvents;
  });
  gauge(registry, "hourglass_oldest_pending_seconds", "Age of the oldest event that is not persisted", () => {
    return pipeline.oldestPendingMs / 1_000;
  });
  gauge(registry, "hourglass_ready", "1 if events are taken", () => (pipeline.unreadiness === undefined ? 1 : 0));
  gauge(registry, "hourglass_flush_ok", "1 unless the last flush failed", () => {
    return pipeline.flushError === undefined ? 1 : 0;
  });
}

function registerRetention(registry: Registry, { pipeline, now }: AppOptions): void {
  new Gauge({
    name: "hourglass_kept_from_seconds",
    help: "Since when (Unix time) rows and hourly aggregates are kept: 0 if all are",
    labelNames: ["what"],
    registers: [registry],
    collect() {
      const at = now();
      this.set({ what: "rows" }, pipeline.retention.rowsFrom(at) / 1_000);
      this.set({ what: "aggregates" }, pipeline.retention.aggregatesFrom(at) / 1_000);
    },
  });
}

function registerStores(registry: Registry, { pipeline, stores = [] }: AppOptions): void {
  gauge(
    registry,
    "hourglass_dead_letters",
    "Acknowledged events whose rows the cold store refused, when it was last asked: once a minute",
    () => pipeline.deadLetterCount,
  );
  gauge(
    registry,
    "hourglass_partitions_missing",
    "1 if MySQL would not add the partitions of the days to come, when this was last tried: once an hour",
    () => (pipeline.retention.partitionProblem === undefined ? 0 : 1),
  );
  new Gauge({
    name: "hourglass_store_up",
    help: "1 unless the last call to the store failed; of Redis, if it is divided into shards, for each of them",
    labelNames: ["store", "shard"],
    registers: [registry],
    collect() {
      for (const watch of stores) this.set(labelsOf(watch), watch.isAway ? 0 : 1);
    },
  });
  new Counter({
    name: "hourglass_store_errors_total",
    help: "Calls to a store that it did not answer, or refused",
    labelNames: ["store", "operation"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { name: store, errors } of stores) {
        for (const [operation, count] of errors) this.inc({ store, operation }, count);
      }
    },
  });
}

function labelsOf({ name, shard }: StoreWatch) {
  return { store: name, ...(shard !== undefined && { shard: String(shard) }) };
}

function registerPastReads(registry: Registry, { pipeline }: AppOptions): void {
  new Counter({
    name: "hourglass_past_reads_total",
    help: "Ranges read from the replica, or from the primary, as the replica was behind or away",
    labelNames: ["outcome"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [outcome, count] of Object.entries(pipeline.pastReads ?? {})) this.inc({ outcome }, count);
    },
  });
}

function registerSources(registry: Registry, sources: readonly Source[]): void {
  new Counter({
    name: "hourglass_source_messages_total",
    help: "Messages of a source, by what became of them; redelivered: those of the received that came again",
    labelNames: ["source", "outcome"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { name, state } of sources) {
        const { failures: _, ...outcomes } = state.counts;
        for (const [outcome, count] of Object.entries(outcomes)) this.inc({ source: name, outcome }, count);
      }
    },
  });
  new Counter({
    name: "hourglass_source_failures_total",
    help: "Connections to a source that were lost, or could not be had",
    labelNames: ["source"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { name, state } of sources) this.inc({ source: name }, state.counts.failures);
    },
  });
  ofSources(registry, sources, "under_way", "Messages that are not settled", ({ underWay }) => underWay);
  ofSources(registry, sources, "consuming", "1 if messages are taken as they come", ({ status }) => {
    return status === "consuming" ? 1 : 0;
  });
}

function ofSources(
  registry: Registry,
  sources: readonly Source[],
  name: string,
  help: string,
  value: (state: SourceState) => number,
): void {
  new Gauge({
    name: `hourglass_source_${name}`,
    help,
    labelNames: ["source"],
    registers: [registry],
    collect() {
      for (const source of sources) this.set({ source: source.name }, value(source.state));
    },
  });
}

function registerRequests(registry: Registry, requestCounts: readonly RequestCounts[]): void {
  new Counter({
    name: "hourglass_http_requests_total",
    help: "Requests that were answered",
    labelNames: ["method", "route", "status"],
    registers: [registry],
    collect() {
      this.reset();
      for (const counts of requestCounts) {
        const { method, route } = counts;
        for (const { status, count } of counts) this.inc({ method, route, status: String(status) }, count);
      }
    },
  });
  registerBuckets(
    registry,
    "hourglass_request_seconds",
    "From a handler's start to its answer. hour: what it is for. Of POST /analytics one in 8 is timed",
    () => requestCounts.flatMap((counts) => [...counts.seconds()]),
  );
}

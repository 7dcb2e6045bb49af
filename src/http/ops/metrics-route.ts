/**
 * GET /metrics, for Prometheus.
 * Invariants: the ledger is read in one tick, so accepted = persisted + pending + handed over + lost holds in every
 * scrape. Processes that share a port have separate samples, labelled by number: a sum would fall whenever one of them
 * does not answer, and counters must not fall. Only hourglass_events_persisted_total does, if MySQL is set back:
 * rate() takes that for a restart.
 */
import { Elysia } from "elysia";
import { AggregatorRegistry, type Registry } from "prom-client";
import registerHeapSize from "prom-client/lib/metrics/heapSizeAndUsed";
import registerMemory from "prom-client/lib/metrics/osMemoryHeap";
import registerCpuTime from "prom-client/lib/metrics/processCpuTotal";
import registerMaxFiles from "prom-client/lib/metrics/processMaxFileDescriptors";
import registerOpenFiles from "prom-client/lib/metrics/processOpenFileDescriptors";
import registerStartTime from "prom-client/lib/metrics/processStartTime";
import { version } from "../../../package.json";
import type { BrokerSource, SourceState } from "../../intake/broker-source.ts";
import type { Pipeline } from "../../pipeline/pipeline.ts";
import { expose, type RequestCounts, registerBuckets, type Sample } from "../../runtime/metrics.ts";
import { NO_STORE } from "../answers.ts";
import type { AppOptions, Siblings } from "../route-options.ts";

/**
 * The default metrics of prom-client that cost nothing between scrapes and little during one. Heap space sizes make Bun
 * walk the whole heap, which blocked the event loop for 15 ms (100,000 objects) to 300 ms (a million). Event loop delay
 * takes 100 measurements a second, of 50 µs each.
 */
const CHEAP_DEFAULTS = [
  ...[registerCpuTime, registerStartTime, registerMemory],
  ...[registerOpenFiles, registerMaxFiles, registerHeapSize],
];

export function metrics(options: AppOptions, requestCounts: readonly RequestCounts[]) {
  const { registry } = options.metrics;
  for (const register of CHEAP_DEFAULTS) register(registry);
  const exposition = expositionIn(registry);
  exposeLedger(exposition, options.pipeline);
  exposeState(exposition, options);
  exposeStores(exposition, options);
  exposeRequests(registry, exposition, requestCounts);
  if (options.sources.length > 0) exposeSources(exposition, options.sources);
  const text = textOf(registry, options.siblings);
  return new Elysia({ name: "metrics" }).get("/metrics", async () => {
    const headers = { "content-type": registry.contentType, ...NO_STORE };
    return new Response(await text(), { headers });
  });
}

function textOf(registry: Registry, siblings: Siblings | undefined): () => Promise<string> {
  if (siblings === undefined) return () => registry.metrics();
  registry.setDefaultLabels({ worker: String(siblings.worker) });
  // Not aggregated: each sample has its worker, and prom-client would omit values that can't be summed.
  const own = async () => {
    const families = await registry.getMetricsAsJSON();
    return families.map((family) => ({ ...family, aggregator: "first" as const }));
  };
  siblings.share(own);
  return async () => {
    const [others, mine] = await Promise.all([siblings.ask(), own()]);
    return await AggregatorRegistry.aggregate([mine, ...others]).metrics();
  };
}

type Exposition = ReturnType<typeof expositionIn>;

/** Adds metrics to a registry. A name that ends with _total is a counter, any other a gauge. */
function expositionIn(registry: Registry) {
  const samples = (name: string, help: string, read: () => Iterable<Sample>) =>
    expose(registry, name.endsWith("_total") ? "counter" : "gauge", name, help, read);
  const value = (name: string, help: string, read: () => number) => samples(name, help, () => [{ value: read() }]);
  const byLabel = (name: string, help: string, label: string, read: () => object) =>
    samples(name, help, () =>
      Object.entries(read()).map(([key, count]) => ({ labels: { [label]: key }, value: count })),
    );
  return { samples, value, byLabel };
}

function exposeLedger({ samples, value, byLabel }: Exposition, pipeline: Pipeline): void {
  const { ledger } = pipeline;
  const totals = {
    hourglass_events_accepted_total: ["accepted", "Events that were acknowledged and count"],
    hourglass_events_persisted_total: ["persisted", "Accepted events that are in the cold store"],
    hourglass_events_lost_total: [
      "lost",
      "Accepted events that are in no store: the hot store lost its journal, or the cold store was set back",
    ],
    hourglass_events_adopted_total: ["adopted", "Events accepted by another writer and persisted from its journal"],
    hourglass_events_duplicate_total: ["duplicates", "Acknowledged events whose id was counted before"],
    hourglass_events_unknown_total: ["unknown", "Events sent to the hot store, which did not answer in time"],
    hourglass_events_unknown_stored_total: ["unknownStored", "Unknown events that turned out to be stored"],
    hourglass_events_unknown_unstored_total: ["unknownUnstored", "Unknown events that turned out not to be stored"],
  } as const;
  for (const [name, [field, help]] of Object.entries(totals)) value(name, help, () => ledger[field]);
  byLabel("hourglass_events_refused_total", "Refused events, by reason", "reason", () => ledger.refused);
  const omittedHelp = "Events from browsers that asked not to be counted, or from bots";
  byLabel("hourglass_events_omitted_total", omittedHelp, "reason", () => ledger.omitted);
  // A gauge, since events that an adopter lost come back to this writer.
  const handedOverHelp = "Accepted events that were left to the adopter of a writer's journal";
  value("hourglass_events_handed_over", handedOverHelp, () => ledger.handedOver);
  const pendingHelp = "Accepted events that are not persisted: in memory too (ring), or only in the journal";
  samples("hourglass_events_pending", pendingHelp, () => {
    const { events, ring } = pipeline.pending;
    return [
      { labels: { in: "ring" }, value: ring },
      { labels: { in: "journal" }, value: events - ring },
    ];
  });
}

function exposeState({ samples, value }: Exposition, { pipeline, siblings, now }: AppOptions): void {
  const buildInfo = [{ labels: { version }, value: 1 }];
  samples("hourglass_build_info", "1, labelled with the running version", () => buildInfo);
  value("hourglass_workers", "Processes that share the port", () => siblings?.count ?? 1);
  const ringHelp = "Maximum of pending events in memory";
  value("hourglass_ring_capacity_events", ringHelp, () => pipeline.ringCapacityEvents);
  const journalHelp = "Pending events above which new ones are refused";
  value("hourglass_journal_max_events", journalHelp, () => pipeline.journalMaxEvents);
  const oldestHelp = "Age of the oldest event that is not persisted";
  value("hourglass_oldest_pending_seconds", oldestHelp, () => pipeline.oldestPendingMs / 1_000);
  value("hourglass_ready", "1 if events are accepted", () => Number(pipeline.unreadiness === undefined));
  value("hourglass_flush_ok", "1 unless the last flush failed", () => Number(pipeline.flushError === undefined));
  const keptHelp = "Since when (Unix time) rows and hourly aggregates are retained: 0 if all are";
  samples("hourglass_kept_from_seconds", keptHelp, () => {
    const at = now();
    return [
      { labels: { what: "rows" }, value: pipeline.retention.rowsFrom(at) / 1_000 },
      { labels: { what: "aggregates" }, value: pipeline.retention.aggregatesFrom(at) / 1_000 },
    ];
  });
}

function exposeStores({ samples, value, byLabel }: Exposition, { pipeline, stores = [] }: AppOptions): void {
  const lettersHelp = "Acknowledged events whose rows the cold store refused, when it was last asked: once a minute";
  value("hourglass_dead_letters", lettersHelp, () => pipeline.coldProblems.deadLetterCount);
  const partitionsHelp = "1 if MySQL did not add the partitions of future days at the hourly attempt";
  value("hourglass_partitions_missing", partitionsHelp, () =>
    Number(pipeline.coldProblems.upkeep.partitions !== undefined),
  );
  const foldingHelp = "1 if MySQL did not fold the rows of hours at the last attempts";
  value("hourglass_hours_unfolded", foldingHelp, () => Number(pipeline.coldProblems.upkeep.folding !== undefined));
  const upHelp = "1 unless the last call to the store failed; for Redis with shards, one per shard";
  samples("hourglass_store_up", upHelp, () =>
    stores.map(({ name: store, shard, isUnavailable }) => {
      return { labels: { store, ...(shard !== undefined && { shard }) }, value: Number(!isUnavailable) };
    }),
  );
  samples("hourglass_store_errors_total", "Calls to a store that failed", () =>
    stores.flatMap(({ name: store, errors }) =>
      Array.from(errors, ([operation, count]) => ({ labels: { store, operation }, value: count })),
    ),
  );
  const pastHelp = "Ranges read from the replica, or from the primary because the replica lagged or was unavailable";
  byLabel("hourglass_past_reads_total", pastHelp, "outcome", () => pipeline.pastReads ?? {});
}

function exposeSources({ samples }: Exposition, sources: readonly BrokerSource[]): void {
  const outcomesHelp = "Messages of a source by outcome; redelivered: received messages that were delivered before";
  samples("hourglass_source_messages_total", outcomesHelp, () =>
    sources.flatMap(({ name: source, state }) => {
      const { failures: _, ...outcomes } = state.counts;
      return Object.entries(outcomes).map(([outcome, value]) => ({ labels: { source, outcome }, value }));
    }),
  );
  const bySource = (name: string, help: string, value: (state: SourceState) => number) =>
    samples(name, help, () => sources.map(({ name: source, state }) => ({ labels: { source }, value: value(state) })));
  const failuresHelp = "Connections to a source that were lost or refused";
  bySource("hourglass_source_failures_total", failuresHelp, ({ counts }) => counts.failures);
  bySource("hourglass_source_under_way", "Messages that are not settled yet", ({ inFlight }) => inFlight);
  bySource("hourglass_source_consuming", "1 if messages are consumed", ({ status }) => Number(status === "consuming"));
  const lagHelp =
    "Messages waiting in the broker: in RabbitMQ's queue, or in each Kafka partition that this process consumes";
  samples("hourglass_source_lag", lagHelp, () =>
    sources.flatMap(({ name: source, state }) =>
      (state.lags ?? []).map(({ partition, lag }) => ({
        labels: { source, ...(partition !== undefined && { partition: String(partition) }) },
        value: lag,
      })),
    ),
  );
}

function exposeRequests(registry: Registry, { samples }: Exposition, requestCounts: readonly RequestCounts[]): void {
  samples("hourglass_http_requests_total", "Requests that were answered", () =>
    requestCounts.flatMap((counts) => {
      const { method, route } = counts;
      return Array.from(counts, ({ status, count }) => ({ labels: { method, route, status }, value: count }));
    }),
  );
  registerBuckets(
    registry,
    "hourglass_request_seconds",
    "From a handler's start to its answer. hour: the hour requested. One in 8 POST /analytics is timed",
    () => requestCounts.flatMap((counts) => [...counts.seconds()]),
  );
}

/** Describes the routes for operators and orchestrators, and those of this description. */
import { Type } from "@sinclair/typebox";
import { OMISSION_REASONS, REFUSAL_REASONS } from "../../domain/refusal-reasons.ts";
import { SOURCE_STATUSES } from "../../intake/broker-source.ts";
import { BROKER_NAMES } from "../../settings/broker-url.ts";
import {
  answer,
  count,
  IF_NONE_MATCH,
  internal,
  JSON_TYPE,
  json,
  members,
  notModified,
  oneOf,
  operation,
  type Paths,
  page,
  refTo,
} from "./parts.ts";

const writer = Type.Optional(Type.String({ description: "the name of this instance as a writer" }));
const OLDEST_PENDING = Type.Number({ minimum: 0, description: "age of the oldest pending event" });
const EVENTS = count("events");
const omissions = Object.fromEntries(OMISSION_REASONS.map((name) => [name, EVENTS]));
const refusals = Object.fromEntries(REFUSAL_REASONS.map((name) => [name, EVENTS]));
const reason = oneOf(REFUSAL_REASONS, "why events are refused");

export const opsSchemas = {
  InstanceLedger: members(
    {
      writer,
      accepted: count("acknowledged: persisted + pending + handed_over + lost"),
      persisted: count("in the cold store"),
      pending: count("not in the cold store yet"),
      pending_in_ring: count("pending events that are also in memory"),
      pending_in_journal_only: count("pending events that are only in the journal"),
      journal_max_events: count("the maximum of pending events; further ones are refused"),
      handed_over: count("left to the adopter of an abandoned writer"),
      lost: count("in no store: the hot store lost its data, or the cold store was set back"),
      holds: Type.Boolean({ description: "whether accepted is the sum of the others (counted where the events are)" }),
      adopted: count("accepted under another writer's name, persisted by this instance"),
      duplicates: count("acknowledged events whose id was counted before"),
      unknown: members(
        {
          total: count("stored + unstored + in_doubt"),
          stored: count("turned out to be stored: accepted or duplicates since then"),
          unstored: count("turned out not to be stored"),
          in_doubt: count("still unknown"),
        },
        "events whose outcome was unknown, because the hot store did not answer in time",
      ),
      refused: members(refusals, "not counted, by reason"),
      omitted: members(omissions, "omitted at the request of the browser or the settings, by reason"),
      oldest_pending_ms: OLDEST_PENDING,
    },
    "Since this instance started.",
  ),
  StoresLedger: Type.Union([
    members(
      {
        writers: Type.Array(
          members({
            writer: Type.String(),
            is_alive: Type.Boolean({ description: "false: its journal may be adopted" }),
            accepted: EVENTS,
            persisted: EVENTS,
            pending: Type.Integer(),
          }),
        ),
        accepted: EVENTS,
        persisted: EVENTS,
        pending: Type.Integer(),
        dead_letters: count("persisted events that were set aside because the database refused their rows"),
      },
      "All instances, past and present.",
    ),
    members({ unavailable: oneOf(["hot_store_away", "cold_store_away"]) }, "A store does not answer."),
  ]),
  Ledger: members({
    instance: refTo("InstanceLedger"),
    stores: refTo("StoresLedger"),
    data_set: Type.Union([Type.String(), Type.Null()], {
      description: "identity of the stored data, as in the table `data_set`; null: the cold store has not answered yet",
    }),
  }),
  Readiness: members({
    status: oneOf(["ready", "not ready"]),
    reason: Type.Optional(reason),
    writer,
    flusher: members(
      {
        status: oneOf(["ok", "failing"]),
        error: Type.Optional(Type.String()),
        oldest_pending_ms: OLDEST_PENDING,
      },
      "State of the cold store. While it is unavailable, events are still accepted.",
    ),
    shards: Type.Optional(
      Type.Array(
        members({
          shard: count("its number, from 0"),
          status: oneOf(["ready", "not ready"]),
          reason: Type.Optional(reason),
          writer,
        }),
        {
          description: "The shards of Redis, if there are several. A shard that is not ready refuses its events.",
        },
      ),
    ),
    sources: Type.Optional(refTo("Sources")),
  }),
  Sources: Type.Array(
    members({
      name: oneOf(Object.keys(BROKER_NAMES)),
      status: oneOf(SOURCE_STATUSES),
      reason: Type.Optional(Type.String({ description: "why nothing is consumed" })),
      under_way: count("received messages that are not settled yet"),
      lags: Type.Optional(
        Type.Array(
          members({
            partition: Type.Optional(count("Kafka: the partition's number")),
            lag: count("messages that wait in the broker; in a partition, those not committed as consumed"),
          }),
          { description: "RabbitMQ: the queue's lag. Kafka: the lag of each partition that this instance consumes." },
        ),
      ),
    }),
    { description: "The brokers that events are consumed from; missing if there are none." },
  ),
};

const READY = {
  status: "ready",
  writer: "0197c6f4-9d0c-7000-8d2e-4f3d6a1b2c3d",
  flusher: { status: "ok", oldest_pending_ms: 12 },
};
const LEDGER = {
  instance: {
    writer: READY.writer,
    ...{ accepted: 1000, persisted: 990, pending: 10, pending_in_ring: 10, pending_in_journal_only: 0 },
    ...{ journal_max_events: 50_000_000, handed_over: 0, lost: 0, holds: true, adopted: 0, duplicates: 3 },
    unknown: { total: 0, stored: 0, unstored: 0, in_doubt: 0 },
    refused: Object.fromEntries(REFUSAL_REASONS.map((name) => [name, 0])),
    omitted: Object.fromEntries(OMISSION_REASONS.map((name) => [name, 0])),
    oldest_pending_ms: 12,
  },
  stores: {
    writers: [{ writer: READY.writer, is_alive: true, accepted: 1000, persisted: 990, pending: 10 }],
    ...{ accepted: 1000, persisted: 990, pending: 10, dead_letters: 0 },
  },
  data_set: "1f0c7a52-6d0e-4c0b-9a39-5b8f6f0f1f6e",
};

export const opsPaths: Paths = {
  "/livez": {
    get: operation("getLiveness", "Operation", "Whether the process is alive", {
      responses: {
        200: answer("The process is alive.", {
          [JSON_TYPE]: { schema: members({ status: oneOf(["alive"]) }), example: { status: "alive" } },
        }),
      },
    }),
  },
  "/readyz": {
    get: operation("getReadiness", "Operation", "Whether events are accepted", {
      description: "Changes within a second.",
      responses: {
        200: json("Events are accepted.", "Readiness", READY),
        503: json("Events are refused, for the given reason.", "Readiness", {
          ...READY,
          status: "not ready",
          reason: "hot_store_away",
        }),
      },
    }),
  },
  "/ledger": {
    get: operation("getLedger", "Operation", "The fate of every event", {
      description: "accepted = persisted + pending + handed_over + lost, at any moment.",
      responses: { 200: json("The ledgers of this instance and of all together.", "Ledger", LEDGER), 500: internal },
    }),
  },
  "/metrics": {
    get: operation("getMetrics", "Operation", "Metrics", {
      description: "Metrics of this process; if several share its port, of all of them, each with a label `worker`.",
      responses: {
        200: answer("Prometheus' text format.", {
          "text/plain": {
            schema: Type.String({ description: "metrics" }),
            example: "# TYPE hourglass_ready gauge\nhourglass_ready 1\n",
          },
        }),
      },
    }),
  },
  "/openapi.json": {
    get: operation("getDescription", "Description", "This description", {
      parameters: [IF_NONE_MATCH],
      responses: {
        200: answer(
          "OpenAPI 3.1.",
          { [JSON_TYPE]: { schema: Type.Object({ openapi: Type.String() }, { additionalProperties: true }) } },
          ["etag"],
        ),
        304: notModified,
      },
    }),
  },
  "/docs": {
    get: operation("getDocs", "Description", "This description as an interactive page", {
      parameters: [IF_NONE_MATCH],
      responses: { 200: page, 304: notModified },
    }),
  },
};

/**
 * POST /events: many events in one request.
 *
 * Invariant: each event of a body is accepted, a duplicate, invalid, refused, or of unknown outcome, with the same
 * numbers in the answer and the ledger. (An event whose stream the key does not allow is invalid in the answer, and
 * unauthorized in the ledger.) 200: all are stored. 422: none is valid. 503: nothing was counted. 504: every outcome is
 * unknown. 207: some are stored; the answer names the events that are not, or may not be.
 */
import { Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import type { BulkOutcome } from "../../pipeline/commit/bulk.ts";
import { StreamReservation } from "../../pipeline/commit/stream-registry.ts";
import type { Pipeline } from "../../pipeline/pipeline.ts";
import { encodingOf, receive, unpack } from "../../protocol/body/encoding.ts";
import { formatOf, formatOfPlainText, isPlainText, textOf } from "../../protocol/body/format.ts";
import { BODY_MAX_BYTES, BODY_TIMEOUT_S, INVALID_MAX_LISTED } from "../../protocol/body/limits.ts";
import { type EventBatch, readEvents } from "../../protocol/body/read-events.ts";
import { RefusedBodyError } from "../../protocol/body/refused-body.ts";
import { parameters, readQuery } from "../../protocol/query-string.ts";
import type { RequestCounts } from "../../runtime/metrics.ts";
import { Slots } from "../../runtime/slots.ts";
import { answerToError, errorAnswer, isRefusedInput, refusalAnswer } from "../answers.ts";
import type { AppOptions } from "../route-options.ts";
import { bulkAnswer, invalidAnswer } from "./events-answer.ts";

/** Total of unpacked bodies in progress. Each takes about 5 times its size in memory. */
const BODIES_MAX_BYTES = 4 * BODY_MAX_BYTES;
/** Received bodies that may wait; further ones are refused. */
const BODIES_MAX_WAITING = 256;

/** The part of the server that closes silent connections. */
interface Timeouts {
  timeout(request: Request, seconds: number): void;
}

function flag(description: string) {
  return Type.Optional(Type.Union([Type.Literal("0"), Type.Literal("1")], { description }));
}

export const BatchQuerySchema = parameters({
  atomic: flag("1: one invalid event refuses all events; else 0"),
  unknown: Type.Optional(
    Type.Union([Type.Literal("refuse"), Type.Literal("ignore")], {
      description: "ignore: unknown members of events are ignored; else refuse",
    }),
  ),
  old: flag("1: accept timestamps before 2001, which otherwise look like seconds sent by mistake; else 0"),
});

type EventsOptions = Pick<AppOptions, "pipeline" | "log" | "now" | "access" | "idleTimeoutS">;

export function events(options: EventsOptions, counts: RequestCounts, bodyTimeoutS = BODY_TIMEOUT_S) {
  const { pipeline, log, idleTimeoutS } = options;
  const memory = new Slots(BODIES_MAX_BYTES, BODIES_MAX_WAITING);
  return new Elysia({ name: "events" }).post("/events", async ({ request, server }) => {
    const startMs = counts.start();
    try {
      const receiveInTime = () => receiveWithin(bodyTimeoutS, idleTimeoutS, request, server);
      return counts.counted(await take(request, receiveInTime, options, memory), startMs);
    } catch (error) {
      const isBody = error instanceof RefusedBodyError;
      // The number of its events is unknown, so it counts as one.
      if (isBody || isRefusedInput(error)) pipeline.ledger.refused.invalid += 1;
      const answer = isBody ? errorAnswer(error.status, error.body, error.headers) : answerToError(error, log, request);
      return counts.counted(answer, startMs);
    }
  });
}

/** Throws RefusedBodyError, MalformedQueryError or InvalidParameterError. */
async function take(
  request: Request,
  receiveInTime: () => Promise<Buffer>,
  { pipeline, now, access }: EventsOptions,
  memory: Slots,
): Promise<Response> {
  const query = readQuery(request.url, BatchQuerySchema);
  const isAtomic = query["atomic"] === "1";
  const isOld = query["old"] === "1";
  const type = request.headers.get("content-type");
  const format = isPlainText(type) ? undefined : formatOf(type);
  const encoding = encodingOf(request.headers.get("content-encoding"));
  const received = await receiveInTime();
  let reservedBytes = encoding === "identity" ? received.length : BODY_MAX_BYTES;
  const turn = memory.take(reservedBytes);
  if (turn === undefined) {
    pipeline.ledger.refused.overloaded += 1;
    return refusalAnswer({ reason: "overloaded", retryAfterS: 1 });
  }
  await turn;
  const streams = new StreamReservation(pipeline.streams);
  try {
    const bytes = await unpack(received, encoding);
    memory.give(reservedBytes - bytes.length);
    reservedBytes = bytes.length;
    const time = now();
    const { retention } = pipeline;
    const earliest = isOld ? retention.rowsFrom(time) : retention.earliestAccepted(time);
    const allowed = access?.streamsOf(request);
    const text = textOf(bytes);
    const options = {
      ...{ now: time, defaultAt: time, earliest },
      format: format ?? formatOfPlainText(text),
      ignoresUnknown: query["unknown"] === "ignore",
      ...{ admits: streams.admits, allowed, invalidMaxListed: INVALID_MAX_LISTED },
    };
    const batch = await readEvents(text, options);
    const refused = access?.refusalOfBatch(request, batch.events.length + batch.invalidCount);
    if (refused !== undefined) {
      pipeline.ledger.refused[refused.reason] += batch.events.length + batch.invalidCount;
      return refused.answer;
    }
    return await submit(pipeline, batch, isAtomic);
  } finally {
    streams.release();
    memory.give(reservedBytes);
  }
}

async function receiveWithin(seconds: number, idleS: number, request: Request, server: Timeouts | null) {
  server?.timeout(request, seconds);
  try {
    return await receive(request);
  } finally {
    // For sending the answer, and for as long as the connection is kept open.
    server?.timeout(request, idleS);
  }
}

async function submit(pipeline: Pipeline, batch: EventBatch, isAtomic: boolean): Promise<Response> {
  const { events: valid, invalidCount, notAllowedCount } = batch;
  const { refused } = pipeline.ledger;
  refused.unauthorized += notAllowedCount;
  refused.invalid += invalidCount - notAllowedCount;
  if (invalidCount > 0 && (isAtomic || valid.length === 0)) {
    refused.invalid += valid.length;
    return invalidAnswer(batch);
  }
  const outcome: BulkOutcome = await pipeline.submitAll(valid, isAtomic);
  return bulkAnswer(batch, outcome);
}

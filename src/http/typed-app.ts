/**
 * The routes with the types of their parameters and answers, for typed clients: `import type { App }` and Eden's
 * `treaty<App>(url)` (examples/eden.ts).
 *
 * The real routes have no Elysia schemas, since the validator costs more than the rest of a request; so their type has
 * only paths. This app never runs; a test compares it with the real one.
 */
import { type Static, Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import { EventObjectSchema } from "../protocol/event/object-rules.ts";
import { EventQuerySchema, HourQuerySchema } from "../protocol/event/query-rules.ts";
import { BatchQuerySchema } from "./ingest/events.ts";
import type { readSchemas } from "./openapi/read-routes.ts";
import type { writeSchemas } from "./openapi/write-routes.ts";
import { SeriesQuerySchema, StreamsQuerySchema } from "./query/range-requests.ts";

const EventArraySchema = Type.Array(EventObjectSchema);

type Batch = Static<typeof writeSchemas.Batch>;
type Series = Static<typeof readSchemas.Series>;
type Streams = Static<typeof readSchemas.Streams>;

function neverServed(): never {
  throw new Error("This app exists only for its type: createApp() (app.ts) makes the one that serves");
}

/** The routes that clients use to count and read. `GET /analytics` answers three lines of text. */
export function typedApp() {
  return new Elysia()
    .post("/analytics", (): undefined => neverServed(), { query: EventQuerySchema })
    .get("/analytics", (): string => neverServed(), { query: HourQuerySchema })
    .post("/events", (): Batch => neverServed(), { query: BatchQuerySchema, body: EventArraySchema })
    .get("/series", (): Series => neverServed(), { query: SeriesQuerySchema })
    .get("/streams", (): Streams => neverServed(), { query: StreamsQuerySchema });
}

export type App = ReturnType<typeof typedApp>;

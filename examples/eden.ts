/**
 * Hourglass through Eden, Elysia's typed client: what is sent and answered has the types of the service.
 *
 *   bun add @elysiajs/eden elysia
 *   bun examples/eden.ts http://localhost:7777
 *
 * Eden sends nothing again: events that come from users are safer with an `id` and the client in client.ts.
 */
import { treaty } from "@elysiajs/eden";
import type { App } from "../src/http/typed-app.ts";

export async function example(url: string) {
  const hourglass = treaty<App>(url);
  const timestamp = Date.now();

  const query = { timestamp: String(timestamp), user: "ann", click: "", id: `order-${timestamp}` } as const;
  const counted = await hourglass.analytics.post(undefined, { query });
  if (counted.status !== 204) throw new Error(`not counted: ${JSON.stringify(counted.error?.value)}`);

  const batch = await hourglass.events.post([
    { timestamp, user: "bob", event: "impression" },
    { timestamp, user: "bob", event: "click" },
  ]);
  const from = new Date(timestamp - 3_600_000).toISOString();
  const series = await hourglass.series.get({ query: { from, step: "total" } });
  const streams = await hourglass.streams.get({ query: { order: "unique_users", limit: "10" } });
  return { accepted: batch.data?.accepted, total: series.data?.total, best: streams.data?.streams[0] };
}

if (import.meta.main) console.log(await example(process.argv[2] ?? "http://localhost:7777"));

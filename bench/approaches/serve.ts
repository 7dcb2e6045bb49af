/** Serves the analytics API on Bun.serve. An approach only supplies how it counts and how it reads. */
import {
  announce,
  type Counts,
  counted,
  countsAnswer,
  type Event,
  eventOf,
  hourIn,
  refused,
  setting,
} from "./request.ts";

export interface Approach {
  /** Answers once the event is stored. */
  count(event: Event): Promise<void>;
  read(hour: number): Promise<Counts>;
}

export function serveApproach(approach: Approach): void {
  const server = Bun.serve({
    port: Number(setting("PORT")),
    hostname: "127.0.0.1",
    async fetch({ method, url }) {
      if (method === "POST") {
        const event = eventOf(url);
        if (event === undefined) return refused();
        await approach.count(event);
        return counted();
      }
      const hour = hourIn(url);
      return hour === undefined ? refused() : countsAnswer(await approach.read(hour));
    },
    error: (error) => {
      console.error(error);
      return new Response("failed", { status: 500 });
    },
  });
  announce(server.port!);
}

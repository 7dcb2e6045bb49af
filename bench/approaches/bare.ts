/**
 * The ceiling for a server that handles events in groups: it parses the query, the answer waits for one promise per
 * turn of the event loop, and nothing is stored.
 */
import { announce, counted, countsAnswer, eventOf, hourIn, refused, setting } from "./request.ts";
import { FIXED_COUNTS, Ticks } from "./tick.ts";

const ticks = new Ticks();
const server = Bun.serve({
  port: Number(setting("PORT")),
  hostname: "127.0.0.1",
  async fetch({ method, url }) {
    const isPost = method === "POST";
    if ((isPost ? eventOf(url) : hourIn(url)) === undefined) return refused();
    await ticks.next();
    return isPost ? counted() : countsAnswer(FIXED_COUNTS);
  },
});
announce(server.port!);

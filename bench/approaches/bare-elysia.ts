/** The async ceiling (see ceiling-async.ts) with Elysia's routes: the difference is what Elysia costs. */
import { Elysia } from "elysia";
import { announce, counted, countsAnswer, eventOf, hourIn, refused, setting } from "./request.ts";
import { FIXED_COUNTS, Ticks } from "./tick.ts";

const ticks = new Ticks();
const port = Number(setting("PORT"));
new Elysia({ serve: { reusePort: false } })
  .post("/analytics", async ({ request }) => {
    if (eventOf(request.url) === undefined) return refused();
    await ticks.next();
    return counted();
  })
  .get("/analytics", async ({ request }) => {
    if (hourIn(request.url) === undefined) return refused();
    await ticks.next();
    return countsAnswer(FIXED_COUNTS);
  })
  .listen({ port, hostname: "127.0.0.1" }, () => announce(port));

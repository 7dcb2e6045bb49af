/** The highest ceiling: Bun.serve answers, and does nothing else. */
import { announce, counted, countsAnswer, setting } from "./request.ts";
import { FIXED_COUNTS } from "./tick.ts";

const server = Bun.serve({
  port: Number(setting("PORT")),
  hostname: "127.0.0.1",
  fetch: ({ method }) => (method === "POST" ? counted() : countsAnswer(FIXED_COUNTS)),
});
announce(server.port!);

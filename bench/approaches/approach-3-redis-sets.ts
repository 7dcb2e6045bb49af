/**
 * The third approach: the last two hours in Redis, as counters and a set of users; older hours in MySQL, as aggregates.
 * The client pipelines the commands of one turn of the event loop in one write.
 */
import { createClient } from "redis";
import { MysqlAggregates } from "./mysql-aggregates.ts";
import { HOUR_MS, hourOf, setting } from "./request.ts";
import { serveApproach } from "./serve.ts";

const CACHED_HOURS = 2;

const redis = createClient({ url: setting("REDIS_URL"), RESP: 2 });
redis.on("error", console.error);
const aggregates = new MysqlAggregates();
await Promise.all([redis.connect(), aggregates.open()]);

function isCached(hour: number): boolean {
  return hour > hourOf(Date.now()) - CACHED_HOURS * HOUR_MS;
}

serveApproach({
  async count(event) {
    const { hour, user, isClick } = event;
    if (!isCached(hour)) return await aggregates.count(event);
    await Promise.all([
      redis.hIncrBy(`counts:${hour}`, isClick ? "clicks" : "impressions", 1),
      redis.sAdd(`users:${hour}`, user),
    ]);
  },
  async read(hour) {
    if (!isCached(hour)) return await aggregates.read(hour);
    const [[clicks, impressions], users] = await Promise.all([
      redis.hmGet(`counts:${hour}`, ["clicks", "impressions"]),
      redis.sCard(`users:${hour}`),
    ]);
    return { users, clicks: Number(clicks ?? 0), impressions: Number(impressions ?? 0) };
  },
});

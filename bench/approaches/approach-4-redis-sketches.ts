/**
 * The fourth approach: 24 hours in Redis, as counters and a HyperLogLog of the users. It stores no rows and no older
 * hours. The client pipelines the commands of one turn of the event loop in one write.
 */
import { createClient } from "redis";
import { setting } from "./request.ts";
import { serveApproach } from "./serve.ts";

const redis = createClient({ url: setting("REDIS_URL"), RESP: 2 });
redis.on("error", console.error);
await redis.connect();

serveApproach({
  async count({ hour, user, isClick }) {
    await Promise.all([
      redis.hIncrBy(`counts:${hour}`, isClick ? "clicks" : "impressions", 1),
      redis.pfAdd(`users:${hour}`, user),
    ]);
  },
  async read(hour) {
    const [[clicks, impressions], users] = await Promise.all([
      redis.hmGet(`counts:${hour}`, ["clicks", "impressions"]),
      redis.pfCount(`users:${hour}`),
    ]);
    return { users, clicks: Number(clicks ?? 0), impressions: Number(impressions ?? 0) };
  },
});

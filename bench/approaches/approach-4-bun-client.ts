/**
 * The fourth approach (see approach-4-redis-sketches.ts) with the Redis client that Bun brings, which costs
 * less per command. Hourglass and the other approaches use the same clients, so that the approach is what is
 * compared; this shows how much of the difference the client could make.
 */
import { RedisClient } from "bun";
import { setting } from "./request.ts";
import { serveApproach } from "./serve.ts";

const redis = new RedisClient(setting("REDIS_URL"));
await redis.connect();

serveApproach({
  async count({ hour, user, isClick }) {
    await Promise.all([
      redis.hincrby(`counts:${hour}`, isClick ? "clicks" : "impressions", 1),
      redis.pfadd(`users:${hour}`, user),
    ]);
  },
  async read(hour) {
    const [[clicks, impressions], users] = await Promise.all([
      redis.hmget(`counts:${hour}`, ["clicks", "impressions"]),
      redis.send("PFCOUNT", [`users:${hour}`]),
    ]);
    return { users: Number(users), clicks: Number(clicks ?? 0), impressions: Number(impressions ?? 0) };
  },
});

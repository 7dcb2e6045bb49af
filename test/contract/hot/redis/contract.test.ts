/** Redis keeps the contract of hot stores. */
import { hotStoreContract } from "../contract/contract.ts";
import { lostIdsContract } from "../contract/lost-ids.ts";
import { describeHotRedis } from "./redis-setup.ts";

describeHotRedis((redis) => {
  hotStoreContract("Redis", () => redis.open());
  lostIdsContract("Redis", () => redis.open());
});

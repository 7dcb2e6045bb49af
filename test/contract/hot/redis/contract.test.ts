/** Redis keeps the contract of hot stores. */
import { hotStoreContract } from "../contract/contract.ts";
import { lossesContract } from "../contract/losses.ts";
import { describeHotRedis } from "./redis-setup.ts";

describeHotRedis((redis) => {
  hotStoreContract("Redis", () => redis.open());
  lossesContract("Redis", () => redis.open());
});

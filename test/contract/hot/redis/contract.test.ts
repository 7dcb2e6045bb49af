/** Redis keeps the contract of hot stores. */
import { setDefaultTimeout } from "bun:test";
import { hotStoreContract } from "../contract/contract.ts";
import { lostIdsContract } from "../contract/lost-ids.ts";
import { describeHotRedis } from "./redis-setup.ts";

setDefaultTimeout(60_000);

describeHotRedis((redis) => {
  hotStoreContract("Redis", () => redis.open());
  lostIdsContract("Redis", () => redis.open());
});

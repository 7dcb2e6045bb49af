/** The simulation's hot store keeps the contract of the real ones. */
import { setDefaultTimeout } from "bun:test";
import { HotClient } from "../../simulation/stores/hot/client.ts";
import { HotData } from "../../simulation/stores/hot/data.ts";
import { HotServer } from "../../simulation/stores/hot/server.ts";
import { hotStoreContract } from "../hot/contract/contract.ts";
import { LONG_LEASE_MS, NOON } from "../hot/setup.ts";
import { LiveWorld } from "./live-world.ts";

setDefaultTimeout(60_000);

hotStoreContract("memory of the simulation", async () => {
  const world = new LiveWorld(NOON);
  const server = new HotServer("redis-0", () => new HotData(() => NOON, LONG_LEASE_MS));
  const store = new HotClient({ ...world, server, onRegister: () => {} });
  return {
    async open() {
      await store.open();
      return store;
    },
    async uninitialize() {
      server.data.meta = undefined;
      return store;
    },
    async end() {
      await store.close();
      world.end();
    },
  };
});

/** The simulation's hot store keeps the contract of the real ones. */
import { HotClient } from "../../simulation/stores/hot/client.ts";
import { HotData } from "../../simulation/stores/hot/data.ts";
import { HotServer } from "../../simulation/stores/hot/server.ts";
import { hotStoreContract } from "../hot/contract/contract.ts";
import { lossesContract } from "../hot/contract/losses.ts";
import { type Harness, LONG_LEASE_MS, NOON } from "../hot/setup.ts";
import { LiveWorld } from "./live-world.ts";

const NAME = "memory of the simulation";

async function openHarness(): Promise<Harness> {
  const world = new LiveWorld(NOON);
  // From NOON on, as fast as real time.
  const nowMs = () => NOON + Math.floor(performance.now());
  const server = new HotServer("redis-0", () => new HotData(nowMs, LONG_LEASE_MS));
  const store = new HotClient({
    ...{ ...world, master: () => server, areReplicasAwaited: false },
    ...{ onRegister: () => {}, onRegistered: () => {} },
  });
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
}

hotStoreContract(NAME, openHarness);
lossesContract(NAME, openHarness);

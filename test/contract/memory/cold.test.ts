/** The simulation's cold store keeps the contract of the real ones, in the roles that a pipeline uses. */
import type { ColdStore } from "../../../src/store/cold.ts";
import { compareHours } from "../../../src/store/sql/rows.ts";
import { ColdClient } from "../../simulation/stores/cold/client.ts";
import { ColdData, type EventRow } from "../../simulation/stores/cold/data.ts";
import { ColdServer } from "../../simulation/stores/cold/server.ts";
import { flushContract } from "../cold/contract/flush.ts";
import { lossesContract } from "../cold/contract/losses.ts";
import { readsContract } from "../cold/contract/reads.ts";
import { type Harness, NOON } from "../cold/setup.ts";
import { LiveWorld } from "./live-world.ts";

const NAME = "memory of the simulation";

/** Statements that would break a real store. */
const TAKEN_AWAY = /RENAME TO hourly_away$/;

async function openHarness(): Promise<Harness> {
  const world = new LiveWorld(NOON);
  const data = new ColdData();
  const server = new ColdServer(data);
  const hourParts = async () => {
    const parts = [...data.parts].sort(compareHours);
    return parts.map(({ hour, stream, clicks, impressions, users }) => {
      const { viewers, clickers } = users.encode();
      const sketches = { viewers_sketch: viewers, clickers_sketch: clickers };
      return { hour, stream, clicks, impressions, ...sketches };
    });
  };
  return {
    store: () => new ColdClient({ ...world, server, onBeginEpoch: () => {} }) as unknown as ColdStore,
    async events() {
      const rows = [...data.rows.values()].flat();
      const writerIds = new Map(data.writers.map(({ writer }, id) => [writer, id]));
      const idOf = ({ writer }: EventRow) => writerIds.get(writer)!;
      rows.sort((a, b) => compareHours(a, b) || idOf(a) - idOf(b) || a.seq - b.seq || a.ordinal - b.ordinal);
      return rows.map(({ shard: _, epoch: __, register: ___, ...row }) => row);
    },
    hours: hourParts,
    hourParts,
    writers: async () => data.writers.toSorted((a, b) => (a.writer < b.writer ? -1 : 1)),
    async run(sql) {
      server.isReadOnly = TAKEN_AWAY.test(sql);
    },
    async end() {
      world.end();
    },
  };
}

flushContract(NAME, openHarness);
lossesContract(NAME, openHarness);
readsContract(NAME, openHarness);

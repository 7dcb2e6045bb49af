/** What `forget` waits for, including what the hot store lost and instances commit again. */
import { expect, test } from "bun:test";
import { type Accepted, drain, RECOVERY_MS } from "../../src/pipeline/flush/drain.ts";
import { systemClock } from "../../src/runtime/clock.ts";

/** A hot and a cold store of which only what `drain` asks for is there, in a time that passes while it sleeps. */
class World {
  nowMs = 1_000_000;
  initializedAtMs: number | undefined = 0;
  owners: Accepted[] = [];
  readonly stored = new Map<string, number>();
  readonly #due: { readonly atMs: number; readonly act: () => void }[] = [];

  in(ms: number, act: () => void): void {
    this.#due.push({ atMs: this.nowMs + ms, act });
  }

  drain(timeoutMs = 60_000): Promise<number> {
    const clock = {
      ...systemClock(),
      monotonicMs: () => this.nowMs,
      sleep: async (ms: number) => {
        this.nowMs += ms;
        for (const one of this.#due.splice(0)) {
          if (one.atMs <= this.nowMs) one.act();
          else this.#due.push(one);
        }
      },
    };
    return drain({
      cold: {
        storedEvents: async (writers) => ({
          byWriter: new Map(writers.map((writer) => [writer, this.stored.get(writer) ?? 0])),
          total: 0,
        }),
      },
      listOwners: async () => this.owners,
      initializedMsAgo: async () => {
        return this.initializedAtMs === undefined ? undefined : this.nowMs - this.initializedAtMs;
      },
      timeoutMs,
      clock,
    });
  }

  /** The instance that holds the events registers another writer, and commits them again. */
  recover(events: number): void {
    this.initializedAtMs = this.nowMs;
    this.in(700, () => {
      this.owners = [{ writer: "new", acceptedEvents: events }];
    });
  }
}

test("stored at once, it answers at once", async () => {
  const world = new World();
  world.owners = [{ writer: "a", acceptedEvents: 3 }];
  world.stored.set("a", 3);
  expect(await world.drain()).toBe(0);
  expect(world.nowMs).toBe(1_000_000);
});

test("answers what is left when the time is over", async () => {
  const world = new World();
  world.owners = [{ writer: "a", acceptedEvents: 3 }];
  world.stored.set("a", 1);
  expect(await world.drain()).toBe(2);
});

test("after a loss it waits for what is committed again", async () => {
  const world = new World();
  world.initializedAtMs = undefined;
  world.in(1_500, () => world.recover(4));
  world.in(20_000, () => world.stored.set("new", 4));
  expect(await world.drain()).toBe(0);
  expect(world.stored.get("new")).toBe(4);
});

test("a loss while it waits makes it start over", async () => {
  const world = new World();
  world.owners = [{ writer: "a", acceptedEvents: 4 }];
  world.in(2_000, () => {
    world.owners = [];
    world.recover(4);
  });
  world.in(20_000, () => world.stored.set("new", 4));
  expect(await world.drain()).toBe(0);
  expect(world.stored.get("new")).toBe(4);
});

test("a hot store that no instance initializes holds it up for a while only", async () => {
  const world = new World();
  world.initializedAtMs = undefined;
  expect(await world.drain()).toBe(0);
  expect(world.nowMs - 1_000_000).toBeLessThan(RECOVERY_MS + 1_000);
});

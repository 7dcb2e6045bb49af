/** A pipeline on each pair of stores, set up for tests. */
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "bun:test";
import { countEvents, type Event } from "../../../src/domain/event.ts";
import {
  click,
  type Instance,
  type Interceptor,
  NOON,
  onMethod,
  type PipelineMode,
  pipelineModes,
  type Site,
  STREAM,
  unavailable,
} from "../../harness/pipeline/pipeline-harness.ts";
import { describeWithServers } from "../../harness/servers/servers.ts";

export const ALL = Number.POSITIVE_INFINITY;
/** No flush by the timer within a test. */
export const NEVER_MS = 60_000;

export const flushesFail = onMethod("cold.flush", async () => {
  throw unavailable("cold");
});

/** Holds calls of one method up until they are let go. */
export function holdUp(method: Parameters<typeof onMethod>[0]): { intercept: Interceptor; letGo(): void } {
  const gate = Promise.withResolvers<void>();
  const intercept = onMethod(method, async (call) => {
    await gate.promise;
    return await call.proceed();
  });
  return { intercept, letGo: () => gate.resolve() };
}

/** Lets everything else that waits have its turn: a loop over an embedded store alone never would. */
export async function nextTurn(count = 1): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** A click that comes with an id. */
export function named(id: string, user = `user of ${id}`, at = NOON, stream = STREAM): Event {
  return click(user, at, stream, id);
}

/** One site of one mode, new for each test. */
export class ModeSite {
  site!: Site;

  /** The number of batches that were committed, by the writers that did. */
  async batchCounts(): Promise<number[]> {
    return (await this.site.watermarks()).map(({ seq }) => seq);
  }

  /** Compares the books with what stands in the stores: for an instance that has had one writer. */
  async expectLedger(instance: Instance, accepted: number): Promise<void> {
    const { ledger, writer } = instance.pipeline;
    const { hot, cold } = instance.stores;
    const unflushed = await hot.readJournal(writer!, await cold.watermark(writer!), ALL);
    expect(ledger.accepted).toBe(accepted);
    expect(ledger.persisted).toBe(await this.site.cold.countEvents());
    expect(ledger.pending).toBe(countEvents(unflushed));
    expect(ledger.accepted).toBe(ledger.persisted + ledger.pending + ledger.handedOver + ledger.lost);
  }
}

export function describePipelines(body: (its: ModeSite, mode: PipelineMode) => void): void {
  for (const mode of pipelineModes()) {
    describeWithServers(`pipeline: ${mode.name}`, mode.needs, () => {
      const its = new ModeSite();
      beforeAll(() => mode.prepare());
      afterAll(() => mode.end());

      beforeEach(async () => {
        its.site = await mode.open();
      });

      afterEach(() => its.site.close());

      body(its, mode);
    });
  }
}

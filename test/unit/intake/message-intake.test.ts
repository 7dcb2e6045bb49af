/** What becomes of messages while the stores refuse events, without a broker or a store. */
import { describe, expect, test } from "bun:test";
import type { Event } from "../../../src/domain/event.ts";
import { Ledger } from "../../../src/domain/ledger.ts";
import type { RefusalReason } from "../../../src/domain/refusal-reasons.ts";
import { Deliveries, type Delivery } from "../../../src/intake/deliveries.ts";
import { MessageBody } from "../../../src/intake/message-content.ts";
import { type MessageEnd, MessageIntake } from "../../../src/intake/message-intake.ts";
import type { Pipeline } from "../../../src/pipeline/pipeline.ts";
import { NOON, RecordedLog } from "../../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../../harness/service/wait-for.ts";

/** Stores every event that it is not told to refuse. */
class FakePipeline {
  readonly stored: Event[] = [];
  readonly streams = { reserve: () => true, release: () => {} };
  readonly retention = { earliestAccepted: () => 0 };
  readonly ledger = new Ledger();
  refusal: RefusalReason | undefined;
  isRefused: (event: Event) => boolean = () => false;

  setAside: () => Promise<void> = () => Promise.resolve();

  async submit(event: Event) {
    const { refused } = await this.submitAll([event]);
    return refused[0]?.refusal;
  }

  async submitAll(events: readonly Event[]) {
    const positions: number[] = [];
    for (const [i, event] of events.entries()) {
      if (this.isRefused(event)) positions.push(i);
      else this.stored.push(event);
    }
    const refusal = { reason: "overloaded", retryAfterS: 1 } as const;
    return { refused: positions.length === 0 ? [] : [{ refusal, positions }], unknown: [] };
  }
}

function open(pipeline: FakePipeline) {
  const log = new RecordedLog();
  const options = { log, now: () => NOON, name: "test", origin: "test" };
  const intake = new MessageIntake({ ...options, pipeline: pipeline as unknown as Pipeline });
  const counts = { received: 0, redelivered: 0, acknowledged: 0, rejected: 0, failures: 0 };
  return { intake, log, deliveries: new Deliveries({ intake, counts, log }) };
}

function delivery(users: readonly string[], settle: (end: MessageEnd) => void = () => {}): Delivery {
  const events = users.map((user) => ({ timestamp: NOON, user, event: "click" }));
  const body = new MessageBody(Buffer.from(JSON.stringify(events)));
  return { id: undefined, contentType: undefined, contentEncoding: undefined, body, settle };
}

describe("messages that arrive together", () => {
  test("of which a part is refused: without ids, too, each of their events is stored once", async () => {
    const pipeline = new FakePipeline();
    const { deliveries } = open(pipeline);
    let refusals = 1;
    pipeline.isRefused = ({ user }) => user === "7b" && refusals-- > 0;
    const users = Array.from({ length: 20 }, (_, i) => [`${i}a`, `${i}b`]);
    for (const pair of users) deliveries.take(delivery(pair));
    await deliveries.drain();
    expect(pipeline.stored.map(({ user }) => user).sort()).toEqual(users.flat().sort());
  });
});

describe("a message that waits", () => {
  test("and is stored at the first try resets the backoff and says that none is held", async () => {
    const pipeline = new FakePipeline();
    const { deliveries, log } = open(pipeline);
    const HELD = "messages are held until events are accepted";
    pipeline.refusal = "overloaded";
    deliveries.take(delivery(["a"]));
    await waitFor("a message to be held", () => log.entries.some(({ message }) => message === HELD));
    pipeline.refusal = undefined;
    await deliveries.drain();
    expect(log.entries.map(({ message }) => message)).toEqual([HELD, "messages are no longer held"]);
  });

  test("for the cold store is let go when its session ends", async () => {
    const pipeline = new FakePipeline();
    const { deliveries, intake } = open(pipeline);
    pipeline.setAside = () => Promise.reject(new Error("away"));
    deliveries.take(delivery([""]));
    await waitFor("the cold store to be away", () => intake.heldBy !== undefined);
    deliveries.end(new Error("the connection was lost"));
    await waitFor("the message to be let go", () => deliveries.inFlight === 0);
    intake.stop();
  });
});

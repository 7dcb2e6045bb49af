/** The parts of a source, without a broker: a message's content, waiting, and acknowledgements. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { RefusalReason } from "../../../src/domain/refusal-reasons.ts";
import { Hold } from "../../../src/intake/hold.ts";
import {
  type Message,
  MessageBody,
  readMessage,
  readShortMessage,
  shortIdOf,
} from "../../../src/intake/message-content.ts";
import { PoisonBin } from "../../../src/intake/poison-bin.ts";
import { AckWindow, messageOf as messageOfRabbitMq } from "../../../src/intake/rabbitmq-session.ts";
import type { Poison } from "../../../src/store/cold.ts";
import { heapBytes } from "../../harness/heap.ts";
import { RecordedLog } from "../../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../../harness/service/wait-for.ts";

const NOW = Date.UTC(2026, 0, 31, 12);

describe("acknowledgements", () => {
  /** A broker's view: which deliveries are open. It refuses to hear of one that is not. */
  class Ledger {
    readonly open = new Set<number>();
    words = 0;

    say({ upTo, single }: ReturnType<AckWindow["take"]>): number[] {
      const told: number[] = [];
      if (upTo !== undefined) told.push(...this.#close(upTo, true));
      for (const tag of single) told.push(...this.#close(tag, false));
      return told;
    }

    #close(tag: number, isMultiple: boolean): number[] {
      this.words += 1;
      expect(this.open.has(tag)).toBe(true);
      const closed = isMultiple ? [...this.open].filter((one) => one <= tag) : [tag];
      for (const one of closed) this.open.delete(one);
      return closed;
    }
  }

  test("stand for what is settled, and for nothing else, whatever the order", () => {
    const deliveries = fc.array(fc.record({ order: fc.nat(), isTold: fc.boolean(), isTurnOver: fc.boolean() }), {
      minLength: 1,
      maxLength: 60,
    });
    const property = (settlings: { order: number; isTold: boolean; isTurnOver: boolean }[]) => {
      const ledger = new Ledger();
      const window = new AckWindow();
      const settled = new Set<number>();
      for (const [i] of settlings.entries()) ledger.open.add(i + 1);
      const tagged = settlings.map((settling, i) => ({ ...settling, tag: i + 1 }));
      for (const { tag, isTold, isTurnOver } of tagged.sort((a, b) => a.order - b.order)) {
        settled.add(tag);
        if (isTold) {
          ledger.open.delete(tag);
          window.settleRejected(tag);
        } else {
          window.settle(tag);
        }
        if (isTurnOver) for (const told of ledger.say(window.take())) expect(settled.has(told)).toBe(true);
      }
      ledger.say(window.take());
      expect(ledger.open.size).toBe(0);
    };
    fc.assert(fc.property(deliveries, property));
  });

  test("are one for all that were settled in order", () => {
    const window = new AckWindow();
    for (let tag = 1; tag <= 500; tag++) window.settle(tag);
    expect(window.take()).toEqual({ upTo: 500, single: [] });
    window.settle(502);
    expect(window.take()).toEqual({ upTo: undefined, single: [502] });
    window.settle(501);
    window.settle(503);
    expect(window.take()).toEqual({ upTo: 503, single: [] });
  });

  test("take no memory for what is settled behind an open delivery", () => {
    const window = new AckWindow();
    const before = heapBytes();
    for (let tag = 2; tag <= 1_000_000; tag++) {
      window.settle(tag);
      if (tag % 500 === 0) expect(window.take().upTo).toBeUndefined();
    }
    expect(heapBytes() - before).toBeLessThan(5_000_000);
    window.settle(1);
    expect(window.take()).toEqual({ upTo: 1, single: [] });
  });
});

describe("a message", () => {
  const event = { timestamp: NOW, user: "a", event: "click" };

  const OPTIONS = {
    origin: "test",
    now: NOW,
    earliest: 0,
    defaultAt: undefined,
    admits: (name: string) => name !== "new",
  };

  function messageOf(body: string, more: Partial<Message> = {}): Message {
    return {
      id: "m",
      contentType: undefined,
      contentEncoding: undefined,
      body: new MessageBody(Buffer.from(body)),
      ...more,
    };
  }

  function read(body: string, more: Partial<Message> = {}) {
    return readMessage(messageOf(body, more), OPTIONS);
  }

  test("gives its events ids, but for those that have one", async () => {
    const one = await read(JSON.stringify(event));
    expect(one).toEqual({
      events: [{ stream: "default", at: NOW, kind: "click", user: "a", id: "m" }],
      poison: [],
    });
    const several = await read(JSON.stringify([event, { ...event, id: "own" }, event]));
    expect(several.events.map(({ id }) => id)).toEqual(["m#0", "own", "m#2"]);
    const unnamed = await read(JSON.stringify([event]), { id: undefined });
    expect(unnamed.events.map(({ id }) => id)).toEqual([undefined]);
  });

  test("has no name if that was no UTF-8, and a short one if it was too long", async () => {
    const torn = await read(JSON.stringify(event), { id: "\u{fffd}" });
    expect(torn.events[0]!.id).toBeUndefined();
    const long = await read(JSON.stringify([event, event]), { id: "ä".repeat(127) });
    const ids = long.events.map(({ id }) => id!);
    expect(ids[0]).toMatch(/^sha256-[0-9a-f]{64}#0$/);
    expect(new Set(ids).size).toBe(2);
  });

  test("has a long id by its hash, and its events the same ids as by the whole", async () => {
    const longest = `${"ä".repeat(127)}x`;
    expect([shortIdOf(""), shortIdOf("m"), shortIdOf(longest)]).toEqual(["", "m", longest]);
    const long = "ä".repeat(100_000);
    const id = shortIdOf(long)!;
    expect(id).toMatch(/^sha256-[0-9a-f]{64}$/);
    const [byHash, byWhole] = [
      await read(JSON.stringify([event]), { id }),
      await read(JSON.stringify([event]), { id: long }),
    ];
    expect(byHash.events).toEqual(byWhole.events);
    expect(shortIdOf(`${long}\u{fffd}`)).toBeUndefined();
    const torn = { properties: { messageId: Buffer.alloc(255, 0xff).toString() }, content: Buffer.from("") };
    expect(messageOfRabbitMq(torn as never).id).toBeUndefined();
  });

  const BAD: Readonly<Record<string, [string, Partial<Message>, string]>> = {
    "no JSON": ["nonsense", {}, "expected a JSON object"],
    nothing: ["", {}, "expected a JSON object"],
    "two objects": ['{"a":1}{"b":2}', {}, "expected a JSON object"],
    "an array without an end": ["[1, 2", {}, "the array does not end"],
    "a type that is not taken": ["{}", { contentType: "text/plain" }, 'content-type: got "text/plain"'],
    "an encoding that is not taken": ["{}", { contentEncoding: "br" }, 'content-encoding: got "br"'],
    "no gzip": ["{}", { contentEncoding: "gzip" }, "could not be decompressed"],
    "a member twice": ['{"timestamp":1,"user":"a","user":"b","event":"click"}', {}, "given once"],
    "a stream too many": [JSON.stringify({ ...event, stream: "new" }), {}, "MAX_STREAMS"],
    "too much": [" ".repeat(5_000_000), {}, "4194304 bytes"],
  };

  for (const [what, [body, more, reason]] of Object.entries(BAD)) {
    test(`that is ${what} is poison, with the reason`, async () => {
      const { events, poison } = await read(body, more);
      expect(events).toEqual([]);
      expect(poison).toHaveLength(1);
      expect(poison[0]!.reason).toContain(reason);
      expect(poison[0]).toMatchObject({ origin: "test", messageId: "m" });
      expect((await read(body, more)).poison[0]!.digest).toBe(poison[0]!.digest);
      expect((await read(body, { ...more, id: "other" })).poison[0]!.digest).not.toBe(poison[0]!.digest);
    });
  }

  test("that is short reads the same without a pause", async () => {
    const one = JSON.stringify(event);
    const ENDS = ["", "\n", " ", "\n\n", "\r\n", "x"];
    const bodies = [one, one.replace(",", ",\n"), `${one}\n${one}`, JSON.stringify({ ...event, id: "own" }), "[]", ""];
    const TYPES = [undefined, "application/json", "application/x-ndjson", "application/jsonl; charset=utf-8"];
    const messages = bodies
      .flatMap((body) => ENDS.flatMap((end) => [body + end, end + body]))
      .flatMap((body) => TYPES.map((contentType) => messageOf(body, { contentType })));
    for (const message of messages) {
      const found = readShortMessage(message, OPTIONS);
      if (found !== undefined)
        expect({ message, found }).toEqual({ message, found: await readMessage(message, OPTIONS) });
    }
  });

  test("of many bad events gives each a piece of its own", async () => {
    const { events, poison } = await read(JSON.stringify([event, ...Array.from({ length: 500 }, () => ({}))]));
    expect(events).toHaveLength(1);
    expect(new Set(poison.map(({ digest }) => digest)).size).toBe(500);
    expect(poison[499]).toMatchObject({ position: 500, eventId: "m#500", body: "{}" });
  });
});

describe("who waits", () => {
  test("resumes once events are accepted, all together, and logs it once", async () => {
    let refusal: RefusalReason | undefined = "hot_store_away";
    let looks = 0;
    const log = new RecordedLog();
    const look = () => {
      looks += 1;
      return refusal;
    };
    const hold = new Hold({ refusal: look, log, name: "test" });
    const waiting = [hold.wait("hot_store_away"), hold.wait("hot_store_away")];
    await waitFor("some looks", () => looks >= 3);
    expect(hold.reason).toBe("hot_store_away");
    refusal = undefined;
    expect(await Promise.all(waiting)).toEqual([true, true]);
    hold.eased();
    expect(hold.reason).toBeUndefined();
    expect(log.entries.map(({ message }) => message)).toEqual([
      "messages are held until events are accepted",
      "messages are no longer held",
    ]);
  });

  test("gives up when the connection is lost, and so does who comes after", async () => {
    const hold = new Hold({ refusal: () => "overloaded", log: new RecordedLog(), name: "test" });
    const waiting = hold.wait("overloaded");
    hold.release();
    expect(await waiting).toBe(false);
    expect(await hold.wait("overloaded")).toBe(false);
  });
});

describe("poison", () => {
  const piece = (digest: string): Poison => ({
    ...{ digest, origin: "test", messageId: undefined, position: 0, eventId: undefined },
    ...{ body: "{}", reason: "bad" },
  });

  test("is set aside together, once, and tried until that is done", async () => {
    const calls: string[][] = [];
    let failures = 2;
    const setAside = async (pieces: readonly Poison[]) => {
      calls.push(pieces.map(({ digest }) => digest));
      if (failures-- > 0) throw new Error("away");
    };
    const bin = new PoisonBin({ setAside, log: new RecordedLog() });
    const put = [bin.put([piece("a")]), bin.put([piece("b"), piece("a")]), bin.put([piece("c")])];
    await waitFor("a failure", () => bin.isFailing);
    expect(await Promise.all(put)).toEqual([true, true, true]);
    expect(calls.at(-1)!.toSorted()).toEqual(["a", "b", "c"]);
    expect(bin.isFailing).toBe(false);
    expect(await bin.put([piece("d")])).toBe(true);
  });

  test("that the store can't take waits alone, and its message is named once", async () => {
    let isRefusing = true;
    const setAside = async (pieces: readonly Poison[]) => {
      if (isRefusing && pieces.some(({ digest }) => digest === "bad")) throw new Error("too long");
    };
    const log = new RecordedLog();
    const bin = new PoisonBin({ setAside, log });
    const bad = bin.put([{ ...piece("bad"), messageId: "m-1" }]);
    const others = ["a", "b", "c", "d"].map((digest) => bin.put([piece(digest)]));
    expect(await Promise.all(others)).toEqual([true, true, true, true]);
    for (const digest of ["e", "f", "g"]) expect(await bin.put([piece(digest)])).toBe(true);
    const logged = log.entries.length;
    for (const digest of ["h", "i", "j"]) expect(await bin.put([piece(digest)])).toBe(true);
    expect(log.entries).toHaveLength(logged);
    const named = log.entries.filter(({ fields }) => "messageId" in fields && fields.messageId === "m-1");
    expect(named).toHaveLength(1);
    await waitFor("another try", () => bin.isFailing);
    isRefusing = false;
    expect(await bad).toBe(true);
    expect(bin.isFailing).toBe(false);
  });

  test("is given up at the stop", async () => {
    const setAside = () => Promise.reject(new Error("away"));
    const bin = new PoisonBin({ setAside, log: new RecordedLog() });
    const put = bin.put([piece("a")]);
    await waitFor("a failure", () => bin.isFailing);
    bin.stop();
    expect(await put).toBe(false);
    expect(await bin.put([piece("b")])).toBe(false);
  });
});

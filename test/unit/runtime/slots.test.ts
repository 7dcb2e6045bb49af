/** A bounded queue for a limited resource: its order, its bounds, and callers that give up. */
import { describe, expect, test } from "bun:test";
import { Slots, SlotsFullError } from "../../../src/runtime/slots.ts";

describe("slots", () => {
  test("are given first come, first served; a large request is not overtaken", async () => {
    const slots = new Slots(3, 10);
    const order: string[] = [];
    await slots.take(2);
    const large = slots.take(3)!.then(() => order.push("large"));
    const small = slots.take(1)!.then(() => order.push("small"));
    slots.give(2);
    await large;
    slots.give(3);
    await small;
    expect(order).toEqual(["large", "small"]);
  });

  test("have a queue with a bound", async () => {
    const slots = new Slots(1, 1);
    await slots.take(1);
    expect(slots.take(1)).toBeInstanceOf(Promise);
    expect(slots.take(1)).toBeUndefined();
    await expect(slots.use(async () => {})).rejects.toBeInstanceOf(SlotsFullError);
  });

  test("go to whoever waits behind a caller that gives up, and never to that caller", async () => {
    const slots = new Slots(2, 10);
    await slots.take(1);
    const controller = new AbortController();
    const large = slots.take(2, () => controller.signal)!;
    const small = slots.take(1)!;
    controller.abort(new Error("too late"));
    await expect(large).rejects.toThrow("too late");
    await small;
    slots.give(2);
    await slots.take(2);
  });

  test("are returned when the work that had one fails", async () => {
    const slots = new Slots(1, 0);
    await expect(slots.use(() => Promise.reject(new Error("broken")))).rejects.toThrow("broken");
    expect(await slots.use(async () => "done")).toBe("done");
  });
});

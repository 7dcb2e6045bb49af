/** Connections cut around a command, late or false answers, a frozen server. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { connect as connectTcp } from "node:net";
import { type HotStore, HotUnavailableError } from "../../../../src/store/hot.ts";
import type { RedisHotStoreOptions } from "../../../../src/store/redis/hot-store.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import { startProxy, type TcpProxy } from "../../../harness/servers/tcp-proxy.ts";
import { waitFor } from "../../../harness/service/wait-for.ts";
import { click, committed, expectJournal, initializeAndRegister, NOON_KEY, present, rejectionOf } from "../setup.ts";
import {
  atPort,
  COMMIT_SHA1,
  CUTS,
  countsKey,
  describeHotRedis,
  everyCall,
  type RedisHarness,
  writerKey,
} from "./redis-setup.ts";

describeHotRedis((redis) => {
  describe("faults on the way", () => {
    let harness: RedisHarness;
    let store: HotStore;
    let proxy: TcpProxy;
    const batch = batchOf([click("u", "id-1"), click("v")]);

    beforeEach(async () => {
      harness = await redis.open();
      proxy = await startProxy(redis.server.port);
      store = await openThroughProxy();
      await initializeAndRegister(store, "w1");
    });

    afterEach(async () => {
      proxy.onUpstream = undefined;
      proxy.onDownstream = undefined;
      await harness.end();
      await proxy.close();
    });

    const openThroughProxy = (settings: Partial<RedisHotStoreOptions> = {}) =>
      harness.openWith({ url: atPort(redis.server.url, proxy.port), ...settings });

    const untilReady = (which = store) => waitFor("the connection", () => which.isReady);

    for (const [when, cutAt] of Object.entries(CUTS)) {
      const cut = (sha1: string) => cutAt(proxy, sha1);

      test(`a connection that is cut with a commit on it, ${when}: in doubt, then applied once`, async () => {
        cut(COMMIT_SHA1);
        const error = await rejectionOf(store.commit("w1", 1, batch));
        expect(error.mayHaveApplied).toBe(true);
        expect(error.message).toContain("Redis could not do 'commit'");
        await untilReady();
        expect(await store.commit("w1", 1, batch)).toEqual(committed());
        expect(await store.commit("w1", 2, batch)).toEqual(committed(0));
        expect(await store.read([NOON_KEY])).toEqual([present(3, 0, 2)]);
      });
    }

    test("an answer to something else is no acknowledgement, and ends the connection", async () => {
      let injected = 0;
      // From here on the server queues what it is sent, and every answer is one command late.
      proxy.onUpstream = (chunk, { server }) => {
        if (chunk.includes("id-1") && ++injected === 1) server.write("*1\r\n$5\r\nMULTI\r\n");
        return true;
      };
      const error = await store.commit("w1", 1, batch).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(HotUnavailableError);
      expect(error).toMatchObject({ mayHaveApplied: true });
      expect(String(error)).toContain("OK");
      await waitFor("a new connection", () => store.isReady);
      expect(await store.commit("w1", 1, batch)).toEqual(committed());
      expect(await store.read([NOON_KEY])).toEqual([present(2, 0, 2)]);
    });

    test("a copy of a commit that arrives after it was sent again, or its writer fenced, applies nothing", async () => {
      let copy: Buffer | undefined;
      proxy.onUpstream = (chunk, connection) => {
        if (!chunk.includes(COMMIT_SHA1)) return true;
        copy = Buffer.from(chunk);
        connection.cut();
        return false;
      };
      await rejectionOf(store.commit("w1", 1, batch));
      proxy.onUpstream = undefined;
      await untilReady();
      expect(await store.commit("w1", 1, batch)).toEqual(committed());
      expect(await sendRaw(copy!)).toContain("committed");
      expect(await store.read([NOON_KEY])).toEqual([present(2, 0, 2)]);
      await expectJournal(store, "w1", { 1: [click("u", "id-1"), click("v")] });
      await store.abandon("w1");
      expect(await sendRaw(copy!)).toContain("fenced");
      expect(await store.read([NOON_KEY])).toEqual([present(2, 0, 2)]);
    });

    /** Sends an intercepted command; returns the server's raw reply. */
    function sendRaw(command: Buffer): Promise<string> {
      return new Promise((resolve, reject) => {
        const socket = connectTcp(redis.server.port, "127.0.0.1");
        socket.once("error", reject);
        socket.once("data", (answer) => {
          socket.destroy();
          resolve(answer.toString());
        });
        socket.write(command);
      });
    }

    test("a Redis that falls silent: each call ends in time, in doubt, and all is well after it", async () => {
      const impatient = await openThroughProxy({ commandTimeoutMs: 1_000 });
      await impatient.register("w1");
      await impatient.commit("w1", 1, batch);
      redis.server.pause();
      try {
        const startMs = performance.now();
        const errors = await Promise.all(everyCall(impatient, 2).map((call) => rejectionOf(call())));
        expect(errors.map(({ mayHaveApplied }) => mayHaveApplied)).toEqual(errors.map(() => true));
        expect(errors[0]!.message).toBe("Redis could not do 'commit': no answer within 1000 ms");
        expect(impatient.isReady).toBe(false);
        const later = await rejectionOf(impatient.commit("w1", 2, batch));
        expect(later.mayHaveApplied).toBe(false);
        const opening = await rejectionOf(harness.store({ commandTimeoutMs: 1_000 }).open());
        expect(opening.message).toContain("no answer to the handshake within 1000 ms");
        expect(performance.now() - startMs).toBeLessThan(15_000);
      } finally {
        redis.server.resume();
      }
      await untilReady(impatient);
      expect(await impatient.renewLease("w1", 1)).toBe("held");
    });

    test("a commit that a frozen server carries out when it wakes is applied once", async () => {
      const impatient = await harness.openWith({ commandTimeoutMs: 1_000 });
      for (const seq of [1, 2]) {
        const mine = batchOf([click(`u-${seq}`, `id-${seq}`)]);
        redis.server.pause();
        try {
          const error = await rejectionOf(impatient.commit("w1", seq, mine));
          expect(error.mayHaveApplied).toBe(true);
        } finally {
          redis.server.resume();
        }
        await untilReady(impatient);
        await waitFor("the frozen copy to be carried out", async () => {
          return Number(await redis.admin.hGet(writerKey("w1"), "last")) === seq;
        });
        expect(await impatient.commit("w1", seq, mine)).toEqual(committed());
      }
      await expectJournal(impatient, "w1", { 1: [click("u-1", "id-1")], 2: [click("u-2", "id-2")] });
      expect((await redis.admin.hmGet(countsKey(NOON_KEY), ["c"])).map(String)).toEqual(["2"]);
    });

    test("a server that accepts connections and stays silent: open() fails in time", async () => {
      proxy.onUpstream = () => false;
      const mute = harness.store({ url: atPort(redis.server.url, proxy.port), commandTimeoutMs: 200 });
      const error = await rejectionOf(mute.open());
      expect(error.message).toContain("Redis could not do 'connect': no answer to the handshake within 200 ms");
      expect(error.mayHaveApplied).toBe(false);
      expect(mute.isReady).toBe(false);
      await mute.close();
      proxy.onUpstream = undefined;
    });

    test("a server that falls silent during a reconnect is retried until it answers", async () => {
      const impatient = await openThroughProxy({ commandTimeoutMs: 500 });
      let attempts = 0;
      proxy.onUpstream = (chunk) => {
        if (chunk.includes("CLIENT") || chunk.includes("SELECT")) attempts += 1;
        return false;
      };
      proxy.cutAll();
      await waitFor("some attempts", () => attempts >= 4 && !impatient.isReady);
      proxy.onUpstream = undefined;
      await untilReady(impatient);
      expect(await impatient.initialization()).toBeDefined();
    });

    test("opening during an automatic reconnect leaves one connection, not two", async () => {
      proxy.delayMs = 30;
      proxy.cutAll();
      await waitFor("it to connect anew", () => !store.isReady && proxy.connectionCount === 1);
      await Promise.all([store.open(), store.open()]);
      proxy.delayMs = 0;
      await untilReady();
      expect(await store.initialization()).toBeDefined();
      await store.close();
      await waitFor("all connections to end", () => proxy.connectionCount === 0);
    });

    test("close() while it reconnects leaves no connection and makes no new one", async () => {
      proxy.delayMs = 30;
      proxy.cutAll();
      await waitFor("it to connect anew", () => !store.isReady && proxy.connectionCount === 1);
      await store.close();
      await waitFor("all connections to end", () => proxy.connectionCount === 0);
      proxy.delayMs = 0;
      await rejectionOf(store.open());
      expect(store.isReady).toBe(false);
      await waitFor("all connections to end", () => proxy.connectionCount === 0);
    });

    test("close() ends calls in flight", async () => {
      proxy.dropAnswers();
      const reading = rejectionOf(store.read([NOON_KEY]));
      await store.close();
      await reading;
    });
  });
});

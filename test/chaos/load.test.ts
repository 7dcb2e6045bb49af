/** More load than the service can handle, and requests that no client should send. */
import { describe } from "bun:test";
import { seedFor } from "../harness/pipeline/random.ts";
import { budgetTest } from "../harness/tiers.ts";
import { expectAllHeld, say, TIMEOUT_MS } from "./chaos-tests.ts";
import { runFuzz } from "./suites/fuzz.ts";
import { runOverload } from "./suites/overload.ts";
import { runSoak } from "./suites/soak.ts";

describe("chaos, embedded, from outside", () => {
  const mode = "embedded";

  budgetTest(
    "overload: each answer is 204 or 503, and all that was acknowledged is stored",
    { quick: 1, full: 10, timeoutMs: TIMEOUT_MS },
    async (seconds) => {
      const options = { seconds, measureSeconds: 1, connections: 400 };
      expectAllHeld(await runOverload({ ...options, mode, seed: seedFor("overload"), say }));
    },
  );

  budgetTest(
    "fuzz: no crash, no fault, and counts that are those of the acknowledged",
    { quick: 2_000, full: 50_000, timeoutMs: TIMEOUT_MS },
    async (requests) => {
      expectAllHeld(await runFuzz({ mode, requests, seed: seedFor("fuzz"), say }));
    },
  );

  budgetTest(
    "soak: it sustains a load within its capacity",
    { quick: 1, full: 10, timeoutMs: TIMEOUT_MS },
    async (seconds) => {
      const options = { seconds, measureSeconds: 1 };
      expectAllHeld(await runSoak({ ...options, mode, seed: seedFor("soak"), say }));
    },
  );
});

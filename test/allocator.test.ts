import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { startService } from "./support/service.ts";

setDefaultTimeout(60_000);

/** What the process was started with, last. */
function environmentOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
}

test.each([
  ["the service starts anew, in place, with its allocator set", {}, "60000"],
  ["who has set the allocator has decided", { MIMALLOC_PURGE_DELAY: "250" }, "250"],
] as const)("%s", async (_, settings, expected) => {
  const service = await startService({ settings: { ...settings, LOG_LEVEL: "warn" } });
  try {
    const environment = environmentOf(service.pid);
    expect(environment).toContain(`MIMALLOC_PURGE_DELAY=${expected}`);
    expect(environment).toContain("LOG_LEVEL=warn");
  } finally {
    await service.stop();
  }
});

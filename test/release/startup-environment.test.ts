import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { STARTUP_ENVIRONMENT } from "../../src/cli/serve/startup-environment.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { startService } from "../harness/service/service.ts";

/** The environment of its last exec. */
function environmentOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
}

test.each([
  ["the service starts anew, in place, with settings of the runtime", {}],
  ["who has set one of them has decided", { MIMALLOC_PURGE_DELAY: "250" }],
] as const)("%s", async (_, settings) => {
  const service = await startService({ settings: { ...settings, LOG_LEVEL: "warn" } });
  try {
    const environment = environmentOf(service.pid);
    const expected = { ...STARTUP_ENVIRONMENT, ...settings, LOG_LEVEL: "warn" };
    for (const [name, value] of Object.entries(expected)) expect(environment).toContain(`${name}=${value}`);
  } finally {
    await service.stop();
  }
});

test("the image sets all of it, so that its process need not replace itself", () => {
  const dockerfile = readFileSync(join(PROJECT_ROOT, "Dockerfile"), "utf8");
  for (const [name, value] of Object.entries(STARTUP_ENVIRONMENT))
    expect(dockerfile).toMatch(new RegExp(`^ {4}${name}=${value}( \\\\)?$`, "m"));
});

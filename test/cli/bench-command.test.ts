/** `hourglass bench`: the events it reports as accepted are counted, and failures are reported. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { HOUR_MS } from "../../src/domain/event.ts";
import { freePort } from "../harness/servers/ports.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { readHour } from "../harness/service/analytics-client.ts";
import { runCommand } from "../harness/service/command.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";

for (const { name, needs, open } of MODES) {
  describeWithServers(`hourglass bench, ${name}`, needs, () => {
    let site: Site;
    let service: Service;
    const startedAt = Date.now();

    beforeAll(async () => {
      site = await open();
      service = await site.start();
    });
    afterAll(() => site.close());

    async function counted(stream: string): Promise<number> {
      let sum = 0;
      for (let at = startedAt; at < Date.now() + HOUR_MS; at += HOUR_MS) {
        const { clicks, impressions } = await readHour(service.port, at, stream);
        sum += clicks + impressions;
      }
      return sum;
    }

    for (const batch of [1, 50]) {
      test(`counts what it says, ${batch} in a request`, async () => {
        const args = ["--url", service.url, "--seconds", "1", "--connections", "4", "--stream", `b${batch}`];
        const { exitCode, output, errors } = await runCommand({}, "bench", ...args, "--batch", `${batch}`, "--json");
        expect({ exitCode, errors }).toEqual({ exitCode: 0, errors: "" });
        const { accepted, perS, latencyMs, failures } = JSON.parse(output);
        expect(accepted).toBeGreaterThan(0);
        expect(accepted).toBe(await counted(`b${batch}`));
        expect(perS).toBeWithin(1, accepted + 1);
        expect(latencyMs.p50).toBeWithin(0, latencyMs.max + 1);
        expect(failures).toEqual({});
      });
    }
  });
}

test("a service that is not running gets no events, which is said at once, with --json, too", async () => {
  const url = `http://127.0.0.1:${await freePort()}`;
  for (const more of [[], ["--json"]]) {
    // Were it to send, it would take longer than the test may.
    const { exitCode, output, errors } = await runCommand({}, "bench", "--url", url, "--seconds", "10000", ...more);
    expect({ exitCode, output }).toEqual({ exitCode: 2, output: "" });
    expect(errors).toContain(`hourglass bench: no answer from ${url}, so nothing was sent: `);
    expect(errors).toMatch(/connect/i);
  }
});

test("a service that refuses all events has no latencies", async () => {
  using server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: ({ url }) => new Response("no", { status: url.endsWith("/livez") ? 200 : 503 }),
  });
  const args = ["--url", `http://127.0.0.1:${server.port}`, "--seconds", "1", "--connections", "1"];
  const { exitCode, output } = await runCommand({}, "bench", ...args);
  expect(exitCode).toBe(2);
  expect(output).toContain("0 events/s");
  expect(output).toMatch(/FAILED: \d+ times? 503 no/);
  expect(output).not.toContain("p50");
});

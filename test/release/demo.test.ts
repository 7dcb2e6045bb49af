/** `npm run demo`: it shows something at once, keeps running, and leaves nothing behind. */
import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { freePort } from "../harness/servers/ports.ts";
import { EventStream } from "../harness/service/event-stream.ts";
import { waitFor } from "../harness/service/wait-for.ts";

interface Message {
  readonly hour: { readonly impressions: number };
}

test("the demo fills two days in, continues to count, and deletes all of it when it is stopped", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-demo-test-"));
  const port = await freePort();
  const child = Bun.spawn([process.execPath, join(PROJECT_ROOT, "scripts", "demo.ts"), "--no-open"], {
    env: { PATH: process.env["PATH"], PORT: String(port), TMPDIR: folder },
    stdio: ["ignore", Bun.file(join(folder, "output")), "inherit"],
  });
  try {
    const url = `http://127.0.0.1:${port}`;
    const output = () => Bun.file(join(folder, "output")).text();
    await waitFor("the address", async () => (await output()).includes(`${url}\n`));
    const answer = await fetch(`${url}/series?stream=*&from=${Date.now() - 47 * 3_600_000}`);
    const { rows } = (await answer.json()) as { rows: { impressions: number }[] };
    expect(rows.slice(0, -1).every(({ impressions }) => impressions > 100)).toBe(true);
    const viewer = await EventStream.open(`${url}/live?stream=*`);
    let last = Number.POSITIVE_INFINITY;
    await waitFor("more than in the message before", async () => {
      const before = last;
      last = (await viewer.next<Message>())!.hour.impressions;
      return last > before;
    });
    child.kill("SIGINT");
    await viewer.drain();
    expect(await child.exited).toBe(0);
    expect(readdirSync(folder)).toEqual(["output"]);
  } finally {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
});

/**
 * A process whose state would lose or double an event ends, and leaves its journal to the next. Here, the third batch
 * is offered to the flusher under the seq of the fourth.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { ask } from "../harness/service/http-connection.ts";
import { type Service, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const AT = Date.UTC(2026, 0, 31, 12);
/** Ends the process's own way only once. */
const BREAKS_A_SEQ = `
import { existsSync, writeFileSync } from "node:fs";
import { Flusher } from "${PROJECT_ROOT}/src/pipeline/flush/flusher.ts";
const { offer } = Flusher.prototype;
const mark = process.env.DATA_DIR + "/seq-was-broken";
Flusher.prototype.offer = function (batch) {
  if (batch.seq !== 3 || existsSync(mark)) return offer.call(this, batch);
  writeFileSync(mark, "");
  const { eventCount, groups } = batch;
  return offer.call(this, { seq: 4, eventCount, groups });
};`;

let folder: string;
let service: Service;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "hourglass-invariants-"));
  const preload = join(folder, "break-a-seq.ts");
  writeFileSync(preload, BREAKS_A_SEQ);
  const binary = join(folder, "hourglass");
  const main = join(PROJECT_ROOT, "src", "main.ts");
  writeFileSync(binary, `#!/bin/sh\nexec ${process.execPath} --preload ${preload} ${main} "$@"\n`);
  chmodSync(binary, 0o755);
  service = await startService({ binary, settings: { FLUSH_INTERVAL_MS: "20" } });
});

afterAll(async () => {
  await service.stop();
  rmSync(folder, { recursive: true, force: true });
});

function post(user: string): Promise<number> {
  const target = `/analytics?timestamp=${AT}&user=${user}&click`;
  return ask(service.port, { method: "POST", target }).then(
    ({ status }) => status,
    () => 0,
  );
}

test("a process whose seqs are out of order ends with a log line, and no event is lost or doubled", async () => {
  for (const user of ["a", "b"]) expect(await post(user)).toBe(204);
  expect(await post("c")).toBe(0);
  await waitFor("the process to end", () => service.exitCode !== null);
  expect(service.exitCode).toBe(1);
  const line =
    service
      .log()
      .split("\n")
      .find((text) => text.includes('"level":50')) ?? "";
  expect(line).toContain("invariant");
  expect(line).toContain("batch 4 was offered after batch 2");

  await service.start();
  for (const user of ["d", "e", "f", "g"]) expect(await post(user)).toBe(204);
  const { body } = await ask(service.port, { method: "GET", target: `/analytics?timestamp=${AT}` });
  expect(body).toContain("clicks,7\n");
});

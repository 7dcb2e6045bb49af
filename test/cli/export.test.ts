/** What `hourglass export --out` writes to: a file that is whole or not there, the end of a link, a pipe. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { postEvent } from "../harness/service/analytics-client.ts";
import { runCommand } from "../harness/service/command.ts";
import { type Service, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

let service: Service;
let settings: Record<string, string>;
let folder: string;
let whole: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "hourglass-export-"));
  service = await startService();
  settings = { DATA_DIR: service.dataDir, PORT: String(service.port) };
  await postEvent(service.port, { at: Date.now(), user: "ann", kind: "click" });
  await waitFor("a row to export", async () => {
    whole = (await runCommand(settings, "export", "--format", "csv")).output;
    return whole.includes("ann");
  });
});
afterAll(async () => {
  await service.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function exportTo(path: string) {
  const { exitCode, errors } = await runCommand(settings, "export", "--format", "csv", "--out", path);
  return { exitCode, errors };
}

test("a file is replaced by a whole one, and nothing is left beside it", async () => {
  const inside = join(folder, "file");
  mkdirSync(inside);
  writeFileSync(join(inside, "out.csv"), "before");
  expect(await exportTo(join(inside, "out.csv"))).toMatchObject({ exitCode: 0 });
  expect(readFileSync(join(inside, "out.csv"), "utf8")).toBe(whole);
  expect(readdirSync(inside)).toEqual(["out.csv"]);
});

test.each(["600", "666"])("a file that is replaced keeps its permissions: %s", async (octal) => {
  const mode = Number.parseInt(octal, 8);
  const path = join(folder, `${octal}.csv`);
  writeFileSync(path, "before");
  chmodSync(path, mode);
  expect(await exportTo(path)).toMatchObject({ exitCode: 0 });
  expect([statSync(path).mode & 0o777, readFileSync(path, "utf8")]).toEqual([mode, whole]);
});

test.each(["of a file", "of nothing yet"])(
  "a link stays one, and its end is written: a link to a link %s",
  async (what) => {
    const inside = join(folder, what);
    mkdirSync(inside);
    if (what === "of a file") writeFileSync(join(inside, "real.csv"), "before");
    symlinkSync("real.csv", join(inside, "middle.csv"));
    symlinkSync(join(inside, "middle.csv"), join(inside, "link.csv"));
    expect(await exportTo(join(inside, "link.csv"))).toMatchObject({ exitCode: 0 });
    expect(lstatSync(join(inside, "link.csv")).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(inside, "real.csv"), "utf8")).toBe(whole);
    expect(readdirSync(inside).toSorted()).toEqual(["link.csv", "middle.csv", "real.csv"]);
  },
);

test("a pipe stays one, and its reader gets the events", async () => {
  const pipe = join(folder, "pipe");
  expect(Bun.spawnSync(["mkfifo", pipe]).exitCode).toBe(0);
  const reader = Bun.spawn(["cat", pipe], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    expect(await exportTo(pipe)).toMatchObject({ exitCode: 0 });
    expect(lstatSync(pipe).isFIFO()).toBe(true);
    expect(await reader.stdout.text()).toBe(whole);
  } finally {
    reader.kill();
    await reader.exited;
  }
});

test("exports to one file do not mix", async () => {
  const path = join(folder, "same.csv");
  const ended = await Promise.all([exportTo(path), exportTo(path), exportTo(path)]);
  expect(ended.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0]);
  expect(readFileSync(path, "utf8")).toBe(whole);
});

test("what cannot be written is said, and nothing is left", async () => {
  const inside = join(folder, "not-there");
  const { exitCode, errors } = await exportTo(join(inside, "out.csv"));
  expect({ exitCode, errors }).toEqual({ exitCode: 2, errors: expect.stringContaining(`cannot write ${inside}`) });
  expect((await exportTo(folder)).exitCode).toBe(2);
});

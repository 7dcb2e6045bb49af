/** `hourglass poison replay`: whatever was set aside, what it reports as refused does not count. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { withColdStore } from "../../src/cli/shared/with-stores.ts";
import { readConfig } from "../../src/settings/read-config.ts";
import { runCommand } from "../harness/service/command.ts";
import { type Service, startService } from "../harness/service/service.ts";

const ANN = { timestamp: Date.UTC(2026, 0, 31, 12), user: "ann", event: "click" };

let service: Service;
let settings: Record<string, string>;

beforeAll(async () => {
  service = await startService();
  settings = { DATA_DIR: service.dataDir, PORT: String(service.port) };
});
afterAll(() => service.stop());

/** Sets one piece aside, replays it, and drops what is left of it. */
async function replayed(body: string, position: number | undefined = 0) {
  const piece = { origin: "test", messageId: "m", position, eventId: "m#0", body, reason: "a test" };
  const digest = Bun.SHA256.hash(body, "hex");
  await withColdStore(readConfig(settings), (cold) => cold.setAsidePoison([{ ...piece, digest }]));
  const replay = await runCommand(settings, "poison", "replay", "--all");
  const dropped = await runCommand(settings, "poison", "drop", "--all");
  return { ...replay, isKept: dropped.output === "1 dropped\n" };
}

async function acceptedSoFar(): Promise<number> {
  const ledger = (await (await fetch(`${service.url}/ledger`)).json()) as { instance: { accepted: number } };
  return ledger.instance.accepted;
}

test("an event counts once, under the id of its message", async () => {
  const before = await acceptedSoFar();
  for (let i = 0; i < 2; i++) expect(await replayed(JSON.stringify(ANN))).toMatchObject({ exitCode: 0, isKept: false });
  expect(await acceptedSoFar()).toBe(before + 1);
});

const { timestamp: _, ...timeless } = ANN;
const REFUSED: Readonly<Record<string, readonly [body: string, why: string]>> = {
  "several events": [`${JSON.stringify(ANN)},${JSON.stringify({ ...ANN, user: "bob" })}`, "not one JSON object"],
  "an array of an event": [JSON.stringify([ANN]), "not one JSON object"],
  "torn JSON": [JSON.stringify(ANN).slice(0, -1), "not one JSON object"],
  "an event without a timestamp, which would count now": [JSON.stringify(timeless), "no timestamp"],
  "an event that the service refuses": [JSON.stringify({ ...ANN, event: "tap" }), "event: got"],
};

test.each(Object.entries(REFUSED))("%s: refused, kept, and not counted", async (_what, [body, why]) => {
  const before = await acceptedSoFar();
  const { exitCode, output, isKept } = await replayed(body);
  expect({ exitCode, output, isKept }).toEqual({ exitCode: 1, output: expect.stringContaining(why), isKept: true });
  expect(await acceptedSoFar()).toBe(before);
});

/** Branches of streams: each has a name that can be asked for. */
import { expect, test } from "bun:test";
import { isStreamName } from "../../../src/domain/stream-rules.ts";
import { UserSketches } from "../../../src/domain/unique-users/sketch.ts";
import { StreamsTally } from "../../../src/pipeline/read/streams-tally.ts";

const STREAMS = ["a", "a.b", "a.b.c", "a..b", ".", "..", ".x", ".x.y", "...x", "x."];

function branchesOf(depth: number): string[] {
  const tally = new StreamsTally(depth);
  for (const stream of STREAMS) tally.add({ stream, hour: 0, clicks: 1, impressions: 0, users: new UserSketches() });
  return tally.streams().map(({ stream }) => stream);
}

test("streams are grouped by their first levels, and dots at the beginning are none", () => {
  expect(branchesOf(1)).toEqual(["a", ".", "..", ".x", "...x", "x"]);
  expect(branchesOf(2)).toEqual(["a", "a.b", "a.", ".", "..", ".x", ".x.y", "...x", "x."]);
  for (const depth of [1, 2, 3, 8]) expect(branchesOf(depth).every(isStreamName)).toBe(true);
});

/** Every mutation matches the source: one that matches nothing would be a promise that nobody breaks. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PROJECT_ROOT } from "../../harness/project/project-files.ts";
import { SIMULATED_MUTATIONS } from "./mutations.ts";

for (const { name, edits } of SIMULATED_MUTATIONS) {
  test(`${name}: follows the source`, () => {
    for (const { file, find } of edits) {
      const count = readFileSync(join(PROJECT_ROOT, file), "utf8").split(find).length - 1;
      expect({ file, find, count }).toEqual({ file, find, count: 1 });
    }
  });
}

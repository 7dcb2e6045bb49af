/** The rules of source-rules.ts hold for the project's files, and each can fail. */
import { describe, expect, test } from "bun:test";
import { projectFiles } from "../harness/project/project-files.ts";
import {
  docsNameFiles,
  type Files,
  headerComments,
  importDirection,
  localImports,
  lockNamesNoHost,
  longTestsInTestFiles,
  noAmbientTime,
  noBarrels,
  noCycles,
  noFixedWaits,
  noForeignNames,
  prefixIsFolder,
  pureDomain,
  type Rule,
  shortLines,
  smallFolders,
  uniqueNames,
} from "../harness/project/source-rules.ts";

const RULES: Readonly<Record<string, Rule>> = {
  importDirection,
  noAmbientTime,
  pureDomain,
  noCycles,
  noBarrels,
  smallFolders,
  prefixIsFolder,
  uniqueNames,
  docsNameFiles,
  longTestsInTestFiles,
  headerComments,
  shortLines,
  noFixedWaits,
  noForeignNames,
  lockNamesNoHost,
};

describe("the project's files", async () => {
  const files = await projectFiles();

  test("are found", () => {
    expect(Array.from(files.keys())).toContain("src/domain/event.ts");
    expect(Array.from(files.keys())).toContain(".ci/run");
    expect(Array.from(files.keys())).toContain("package-lock.json");
    expect(Array.from(files.keys()).filter((path) => path.includes("node_modules"))).toEqual([]);
  });

  for (const [name, rule] of Object.entries(RULES)) {
    test(`keep to ${name}`, () => {
      expect(rule(files)).toEqual([]);
    });
  }
});

/** Code too short to require a header. */
const SHORT = "export const a = 1;\n";
const LONG = "export const a = 1;\n".repeat(15);
/** Put together, so that this file keeps to the rules itself. */
const spelled = (...parts: string[]) => parts.join("");

function imports(...targets: string[]): string {
  return targets.map((target) => `import { a } from "${target}";\n`).join("");
}

function folderOf(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`src/a/f${i}.ts`, SHORT]));
}

const ALLOWED: Readonly<Record<string, readonly [Rule, Record<string, string>]>> = {
  "an import from a lower stage": [importDirection, { "src/http/app.ts": imports("../store/hot.ts") }],
  "an import from the same stage": [importDirection, { "src/domain/ledger.ts": imports("./event.ts") }],
  "a pipeline with a Clock": [
    noAmbientTime,
    { "src/pipeline/a.ts": "clock.after(5, run); clock.now(); new Date(at);" },
  ],
  "a store with a timer": [noAmbientTime, { "src/store/a.ts": "setTimeout(run, 5);" }],
  "the version": [importDirection, { "src/domain/version.ts": imports("../../package.json") }],
  "a command that imports anything": [
    importDirection,
    { "src/cli/serve.ts": imports("../main.ts", "../http/app.ts", "node:fs", "redis") },
  ],
  "a file that two others import": [
    noCycles,
    {
      "src/main.ts": imports("./a.ts", "./b.ts"),
      "src/a.ts": imports("./c.ts"),
      "src/b.ts": imports("./c.ts"),
      "src/c.ts": SHORT,
    },
  ],
  "16 files in a folder": [smallFolders, folderOf(16)],
  "two files with one prefix": [prefixIsFolder, { "src/a/event-body.ts": SHORT, "src/a/event-query.ts": SHORT }],
  "counterparts of one name": [
    uniqueNames,
    {
      "src/store/redis/hours.ts": SHORT,
      "src/store/mysql/hours.ts": SHORT,
      "src/http/ingest/events.ts": SHORT,
      "src/http/openapi/events.ts": SHORT,
      "src/cli/verify.ts": SHORT,
      "src/pipeline/upkeep/verify.ts": SHORT,
    },
  ],
  "a document that names files and folders": [
    docsNameFiles,
    { "docs/a.md": "`src/a/`, src/a/b.ts. See bench/results/latest.html", "src/a/b.ts": SHORT },
  ],
  "a test file with a long test": [longTestsInTestFiles, { "test/a.test.ts": "longTest(1)" }],
  "a name that is passed on": [noBarrels, { "src/a.ts": 'export { a } from "./b.ts";' }],
  "a short file without a header": [headerComments, { "src/a.ts": SHORT }],
  "a header": [headerComments, { "src/a.ts": `/** Why. */\n${LONG}`, "src/b.ts": `// Why.\n${LONG}` }],
  "a header below the interpreter's name": [headerComments, { "src/a.ts": `#!/bin/a\n/** Why. */\n${LONG}` }],
  "a test without a header": [headerComments, { "test/a.test.ts": LONG }],
  "a line of 120 characters": [shortLines, { "src/a.ts": `${"x".repeat(120)}\n` }],
  "a long line in a text": [shortLines, { "README.md": "x".repeat(121) }],
  "a fixed wait in what tests are built on": [noFixedWaits, { "test/harness/a.ts": spelled("await Bun", ".sleep(5)") }],
  "a deadline": [noFixedWaits, { "test/a.test.ts": "setTimeout(() => controller.abort(), 5)" }],
  "a path in a container": [noForeignNames, { Dockerfile: "WORKDIR /build" }],
  "a lock of hashes": [lockNamesNoHost, { "package-lock.json": '"integrity": "sha512-x=="' }],
};

const FORBIDDEN: Readonly<Record<string, readonly [Rule, Record<string, string>, string]>> = {
  "an import from a later stage": [
    importDirection,
    { "src/store/hot.ts": imports("../pipeline/flusher.ts") },
    "src/store/hot.ts: imports src/pipeline/flusher.ts, which is a later stage",
  ],
  "a type from a later stage": [
    importDirection,
    { "src/domain/a.ts": 'import type { A } from "../store/hot.ts";' },
    "src/domain/a.ts: imports src/store/hot.ts, which is a later stage",
  ],
  "a text from a later stage": [
    importDirection,
    { "src/domain/a.ts": 'import sql from "../store/a.sql" with { type: "text" };\nsql();' },
    "src/domain/a.ts: imports src/store/a.sql, which is a later stage",
  ],
  "the service importing a test": [
    importDirection,
    { "src/domain/a.ts": imports("../../test/harness/wait-for.ts") },
    "src/domain/a.ts: imports test/harness/wait-for.ts, which lies outside the service",
  ],
  "the service importing a benchmark": [
    importDirection,
    { "src/main.ts": imports("../bench/load.ts") },
    "src/main.ts: imports bench/load.ts, which lies outside the service",
  ],
  "a file of no stage": [
    importDirection,
    { "src/helpers/a.ts": SHORT },
    "src/helpers/a.ts: belongs to no stage (domain, runtime, settings, protocol, store, pipeline, intake, http, cli)",
  ],
  "a pipeline that looks at the clock of the machine": [
    noAmbientTime,
    { "src/pipeline/a.ts": "performance.now();" },
    "src/pipeline/a.ts:1: takes time or chance from the runtime, not from a Clock: performance.now();",
  ],
  "a pipeline with a timer of the runtime": [
    noAmbientTime,
    { "src/pipeline/a.ts": "setImmediate(run);" },
    "src/pipeline/a.ts:1: takes time or chance from the runtime, not from a Clock: setImmediate(run);",
  ],
  "a domain with chance in it": [
    noAmbientTime,
    { "src/domain/a.ts": "Math.random();" },
    "src/domain/a.ts:1: takes time or chance from the runtime, not from a Clock: Math.random();",
  ],
  "a domain that imports I/O": [
    pureDomain,
    { "src/domain/a.ts": imports("node:fs", "./b.ts") },
    "src/domain/a.ts: imports node:fs",
  ],
  "a domain that writes": [
    pureDomain,
    { "src/domain/a.ts": "console.log(1);" },
    "src/domain/a.ts:1: reads or writes: console.log(1);",
  ],
  "a cycle": [
    noCycles,
    { "src/a.ts": imports("./b.ts"), "src/b.ts": imports("./c.ts"), "src/c.ts": imports("./a.ts") },
    "src/a.ts: cycle src/a.ts -> src/b.ts -> src/c.ts -> src/a.ts",
  ],
  "a cycle of types": [
    noCycles,
    { "src/a.ts": 'import { type B } from "./b.ts";', "src/b.ts": 'import type { A } from "./a.ts";' },
    "src/a.ts: cycle src/a.ts -> src/b.ts -> src/a.ts",
  ],
  "a barrel": [
    noBarrels,
    { "src/store/all.ts": 'export * from "./hot.ts";' },
    'src/store/all.ts:1: a barrel: export * from "./hot.ts";',
  ],
  "a named barrel": [
    noBarrels,
    { "test/harness/all.ts": `${SHORT}export type * as hot from "./hot.ts";` },
    'test/harness/all.ts:2: a barrel: export type * as hot from "./hot.ts";',
  ],
  "17 files in a folder": [smallFolders, folderOf(17), "src/a: 17 files, more than 16"],
  "three files with one prefix": [
    prefixIsFolder,
    { "test/a/event-body.ts": SHORT, "test/a/event-query.ts": SHORT, "test/a/event-rules.test.ts": SHORT },
    "test/a: 3 files begin with event-: make it a folder",
  ],
  "two files of one name": [
    uniqueNames,
    { "src/intake/session.ts": SHORT, "src/store/mysql/session.ts": SHORT },
    "src/store/mysql/session.ts: has the name of src/intake/session.ts",
  ],
  "a document that names a file that is gone": [
    docsNameFiles,
    { "docs/a.md": "\nSee `src/a/c.ts`.", "src/a/b.ts": SHORT },
    "docs/a.md:2: there is no src/a/c.ts",
  ],
  "a long test that the runner does not find": [
    longTestsInTestFiles,
    { "test/contract/commit.ts": "longTest(1)" },
    "test/contract/commit.ts: has long tests, but is no test file",
  ],
  "a long file without a header": [
    headerComments,
    { "src/a.ts": LONG },
    "src/a.ts: has no comment at its top that says what it is for",
  ],
  "a line of 121 characters": [shortLines, { "src/a.lua": `--\n${"x".repeat(121)}` }, "src/a.lua:2: 121 characters"],
  "a sleep in a test": [
    noFixedWaits,
    { "test/a.test.ts": spelled("await Bun", ".sleep(5);") },
    spelled("test/a.test.ts:1: waits for a fixed time: await Bun", ".sleep(5);"),
  ],
  "a sleep by timer in a test": [
    noFixedWaits,
    { "test/a.test.ts": spelled("new Promise((r) => set", "Timeout(r, 5));") },
    spelled("test/a.test.ts:1: waits for a fixed time: new Promise((r) => set", "Timeout(r, 5));"),
  ],
  "a folder of one's machine": [
    noForeignNames,
    { "README.md": spelled("cd /ho", "me/me/hourglass") },
    spelled("README.md:1: names something foreign: cd /ho", "me/me/hourglass"),
  ],
  "a tool's name": [
    noForeignNames,
    { ".ci/run": spelled("# by Cl", "aude") },
    spelled(".ci/run:1: names something foreign: # by Cl", "aude"),
  ],
  "a lock with addresses": [
    lockNamesNoHost,
    { "package-lock.json": '"resolved": "https://example.com/a.tgz"' },
    'package-lock.json:1: names a registry: "resolved": "https://example.com/a.tgz"',
  ],
};

describe("the rules", () => {
  const filesOf = (fixture: Record<string, string>): Files => new Map(Object.entries(fixture));

  for (const [what, [rule, fixture]] of Object.entries(ALLOWED)) {
    test(`allow ${what}`, () => expect(rule(filesOf(fixture))).toEqual([]));
  }

  for (const [what, [rule, fixture, violation]] of Object.entries(FORBIDDEN)) {
    test(`forbid ${what}`, () => expect(rule(filesOf(fixture))).toEqual([violation]));
  }

  test("each is shown to fail", () => {
    const shown = new Set(Object.values(FORBIDDEN).map(([rule]) => rule));
    expect(Object.keys(RULES).filter((name) => !shown.has(RULES[name]!))).toEqual([]);
  });
});

describe("imports", () => {
  const ways: Readonly<Record<string, string>> = {
    "a value": 'import { a } from "./b.ts";',
    "a value that is not used, and a type": 'import { a, type B } from "./b.ts";',
    "a type": 'import type { B } from "./b.ts";',
    "types in braces": 'import {\n  type B,\n  type C as D,\n} from "./b.ts";',
    "the default's type": 'import type B from "./b.ts";',
    "all types": 'import type * as b from "./b.ts";',
    "side effects": 'import "./b.ts";',
    "passed on": 'export { a } from "./b.ts";',
    "a type passed on": 'export type { B } from "./b.ts";',
    "all passed on": 'export * from "./b.ts";',
    "when needed": 'const b = await import("./b.ts");',
    "in a program": '#!/usr/bin/env bun\nimport { a } from "./b.ts";',
    "within a type": 'let b: import("./b.ts").B;',
  };

  for (const [way, source] of Object.entries(ways)) {
    test(`are found: ${way}`, () => expect(localImports("src/x/a.ts", source)).toEqual(["src/x/b.ts"]));
  }

  const none: Readonly<Record<string, string>> = {
    "a package": 'import { Database } from "bun:sqlite";',
    "a comment": '// import "./b.ts";',
    "a string": "const text = 'import \"./b.ts\"';",
    "a type's declaration": 'export type Kind = "click";\ntype Other = { type: Kind };',
  };

  for (const [what, source] of Object.entries(none)) {
    test(`are not seen in ${what}`, () => expect(localImports("src/x/a.ts", source)).toEqual([]));
  }

  test("of a file that can't be read name it", () => {
    expect(() => localImports("src/a.ts", "import {")).toThrow("src/a.ts");
  });
});

/**
 * Rules for the project's files beyond those of compiler and linter. Each rule takes files (path from the project's
 * root to text) and returns the violations, each as `path: what is wrong`.
 */
import { posix } from "node:path";

export type Files = ReadonlyMap<string, string>;
export type Rule = (files: Files) => string[];

/**
 * The stages of the flow, from its ground up: a file imports from its own stage or from one below it. The
 * first pattern that fits a path tells its stage.
 */
const STAGES: readonly { readonly name: string; readonly paths: RegExp }[] = [
  { name: "domain", paths: /^src\/(domain\/|[^/]+\.d\.ts$)/ },
  { name: "runtime", paths: /^src\/runtime\// },
  { name: "settings", paths: /^src\/settings\// },
  { name: "protocol", paths: /^src\/protocol\// },
  { name: "store", paths: /^src\/store\// },
  { name: "pipeline", paths: /^src\/pipeline\// },
  { name: "intake", paths: /^src\/intake\// },
  { name: "http", paths: /^src\/http\// },
  { name: "cli", paths: /^src\/(main\.ts$|cli\/)/ },
];

const SOURCE = /^src\/.*\.ts$/;
const CODE = /\.(ts|sql|lua)$/;
const TEST = /^test\/(?!harness\/|chaos\/(?!.*\.test\.ts$)).*\.ts$/;

const MAX_LINE_CHARS = 120;
const MAX_LINES_WITHOUT_HEADER = 14;

export const importDirection: Rule = (files) =>
  select(files, SOURCE).flatMap(([path, source]) => {
    const stage = stageOf(path);
    if (stage === undefined) return [`${path}: belongs to no stage (${STAGES.map((s) => s.name).join(", ")})`];
    return localImports(path, source).flatMap((target) => {
      const targetStage = stageOf(target);
      if (target === "package.json" || (targetStage !== undefined && targetStage <= stage)) return [];
      const where = targetStage === undefined ? "lies outside the service" : "is a later stage";
      return [`${path}: imports ${target}, which ${where}`];
    });
  });

function stageOf(path: string): number | undefined {
  const stage = STAGES.findIndex(({ paths }) => paths.test(path));
  return stage === -1 ? undefined : stage;
}

/** Types count too: two files that need each other's types can't be read one after the other. */
export const noCycles: Rule = (files) => {
  const done = new Set<string>();
  const violations: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start !== -1) return void violations.push(`${path}: cycle ${[...trail.slice(start), path].join(" -> ")}`);
    if (done.has(path)) return;
    for (const target of localImports(path, files.get(path) ?? "")) {
      if (files.has(target) && SOURCE.test(target)) visit(target, [...trail, path]);
    }
    done.add(path);
  };
  for (const [path] of select(files, SOURCE)) visit(path, []);
  return violations;
};

/**
 * A test has to own the time, the timers and the randomness of these stages. Each name as it is called: what is only
 * computed from a given time is allowed.
 */
export const noAmbientTime: Rule = linesThat(
  /^src\/(domain|pipeline)\/.*\.ts$/,
  new RegExp(
    [
      String.raw`\bDate\.now\b|\bnew Date\(\)|\bperformance\.|\bBun\.(sleep|nanoseconds)|\bMath\.random\b`,
      String.raw`\b(set|clear)(Timeout|Interval|Immediate)\(|\bAbortSignal\.timeout\b|\bqueueMicrotask\(`,
      String.raw`\brandom(UUID|Int)\(|\bgetRandomValues\(|\bsystemClock\b|["'](node:)?timers`,
      String.raw`\b(withDeadline|withStallDeadline|letOthersRun)\(`,
    ].join("|"),
  ),
  "takes time or chance from the runtime, not from a Clock",
);

/** The domain computes: it needs no package, no file and no socket. */
export const pureDomain: Rule = (files) => [
  ...select(files, /^src\/domain\/.*\.ts$/).flatMap(([path, source]) =>
    importsOf(path, source)
      .filter((specifier) => !specifier.startsWith("./"))
      .map((specifier) => `${path}: imports ${specifier}`),
  ),
  ...linesThat(
    /^src\/domain\/.*\.ts$/,
    /\b(process|console)\.\w|\bfetch\(|\bBun\.(file|write|serve|spawn|connect|listen|stdin|stdout|env)\b/,
    "reads or writes",
  )(files),
];

/** A barrel pulls in all that it names, and hides who needs what. */
export const noBarrels: Rule = linesThat(/\.ts$/, /^\s*export\s+(type\s+)?\*\s+(as\s+\w+\s+)?from\b/, "a barrel");

const FOLDER_FILES_MAX = 16;

/** More than fits on a screen is not read, but searched. */
export const smallFolders: Rule = (files) =>
  Array.from(foldersOf(files), ([folder, names]) => [folder, names.length] as const)
    .filter(([, count]) => count > FOLDER_FILES_MAX)
    .map(([folder, count]) => `${folder}: ${count} files, more than ${FOLDER_FILES_MAX}`);

const PREFIX_FILES_MAX = 2;

/** `event-body.ts`, `event-query.ts`, `event-rules.ts` are a folder `event` with `body.ts`, `query.ts`, `rules.ts`. */
export const prefixIsFolder: Rule = (files) =>
  Array.from(foldersOf(files)).flatMap(([folder, names]) => {
    const byPrefix = Map.groupBy(names, (name) => /^[^.-]+(?=-)/.exec(name)?.[0]);
    return Array.from(byPrefix)
      .filter(([prefix, sharing]) => prefix !== undefined && sharing.length > PREFIX_FILES_MAX)
      .map(([prefix, sharing]) => `${folder}: ${sharing.length} files begin with ${prefix}-: make it a folder`);
  });

/** Folders of src/ and test/, and the names of the files that lie in them. */
function foldersOf(files: Files): Map<string, string[]> {
  const paths = select(files, /^(src|test)\/(?!data\/)/).map(([path]) => path);
  const byFolder = Map.groupBy(paths, (path) => posix.dirname(path));
  return new Map(Array.from(byFolder, ([folder, inIt]) => [folder, inIt.map((path) => posix.basename(path))]));
}

/**
 * Where two files of one name are two sides of one thing: the engines of a store, with the contract that they share;
 * a room of routes and its description; a command and what it commands.
 */
const COUNTERPARTS: readonly { readonly one: RegExp; readonly other: RegExp }[] = [
  { one: /^src\/store\//, other: /^src\/store\// },
  { one: /^src\/http\/openapi\//, other: /^src\/http\/(?!openapi\/)/ },
  { one: /^src\/cli\/[^/]+$/, other: /^src\/(?!cli\/)/ },
];

/** A name that is found once is found at once. */
export const uniqueNames: Rule = (files) => {
  const paths = select(files, SOURCE).map(([path]) => path);
  const byName = Map.groupBy(paths, (path) => posix.basename(path));
  return Array.from(byName.values()).flatMap((sharing) =>
    sharing
      .slice(1)
      .filter((path) => !sharing.some((other) => other !== path && areCounterparts(path, other)))
      .map((path) => `${path}: has the name of ${sharing[0]}`),
  );
};

function areCounterparts(a: string, b: string): boolean {
  return COUNTERPARTS.some(({ one, other }) => (one.test(a) && other.test(b)) || (one.test(b) && other.test(a)));
}

/** Paths of the project in prose, up to a hash, a placeholder or the end of a word. */
const PATHS_IN_TEXT = /(?<![\w./-])(?:src|test|bench|scripts)\/[\w./-]*[\w/]/g;
const DOCS = /^(README\.md|docs\/.*\.md)$/;
/** Written by a command of the project, and not kept. */
const GENERATED = /^bench\/results\//;

/** Prose that names a file leads to one. */
export const docsNameFiles: Rule = (files) => {
  const known = new Set<string>();
  for (const path of files.keys()) {
    // As it is given to `npm test`.
    known.add(path.replace(/\.test\.ts$/, ""));
    for (let at = path; at !== "."; at = posix.dirname(at)) known.add(at);
  }
  return select(files, DOCS).flatMap(([path, text]) =>
    lines(text).flatMap((line, index) =>
      (line.match(PATHS_IN_TEXT) ?? [])
        .map((found) => found.replace(/\/$/, ""))
        .filter((found) => !known.has(found) && !GENERATED.test(found))
        .map((found) => `${path}:${index + 1}: there is no ${found}`),
    ),
  );
};

const LONG_TEST = /\b(longTest|budgetTest|longGroup)\(/;

/** The runner looks for long tests in the test files themselves. */
export const longTestsInTestFiles: Rule = (files) =>
  select(files, /^test\/.*(?<!\.test)\.ts$/)
    .filter(([path, source]) => path !== "test/harness/tiers.ts" && LONG_TEST.test(source))
    .map(([path]) => `${path}: has long tests, but is no test file`);

export const headerComments: Rule = (files) =>
  select(files, SOURCE)
    .filter(([, source]) => lines(source).length > MAX_LINES_WITHOUT_HEADER && !/^(#!.*\n)?\/[*/]/.test(source))
    .map(([path]) => `${path}: has no comment at its top that says what it is for`);

export const shortLines: Rule = (files) =>
  select(files, CODE).flatMap(([path, source]) =>
    lines(source).flatMap((line, index) =>
      line.length > MAX_LINE_CHARS ? [`${path}:${index + 1}: ${line.length} characters`] : [],
    ),
  );

/** A fixed wait is too short on a slow machine, and a waste on a fast one: `waitFor` asks until it is so. */
export const noFixedWaits: Rule = linesThat(
  TEST,
  /\bBun\.sleep(Sync)?\(|\bsetTimeout\(\s*(resolve|done|ok|r)\b|["'](node:)?timers\/promises["']/,
  "waits for a fixed time",
);

/**
 * Paths and names of the machine and the tools that a change was made with mean nothing to who reads it. The
 * brackets keep the pattern from finding itself.
 */
export const noForeignNames: Rule = linesThat(
  /^(?!package-lock\.json$).*(\.(ts|sql|lua|md|json|ya?ml)|(^|\/)(Dockerfile|\.dockerignore|run))$/,
  /\/wor[k]\/|\/hom[e]\/\w|\/User[s]\/\w|\bClaud[e]\b|\bAnthropi[c]\b|\bGP[T]\b|\bAI assistan[t]\b/i,
  "names something foreign",
);

/** The lock's integrity hashes say what a package is; from where it comes is each machine's own setting. */
export const lockNamesNoHost: Rule = linesThat(/^package-lock\.json$/, /"resolved"|registry\./, "names a registry");

function linesThat(paths: RegExp, forbidden: RegExp, what: string): Rule {
  return (files) =>
    select(files, paths).flatMap(([path, source]) =>
      lines(source).flatMap((line, index) =>
        forbidden.test(line) ? [`${path}:${index + 1}: ${what}: ${line.trim()}`] : [],
      ),
    );
}

function select(files: Files, paths: RegExp): [string, string][] {
  return Array.from(files).filter(([path]) => paths.test(path));
}

function lines(source: string): string[] {
  return source.replace(/\n$/, "").split("\n");
}

const transpiler = new Bun.Transpiler({ loader: "ts", trimUnusedImports: false });

/** The paths of the project's own files that a file imports, in any way; packages are left out. */
export function localImports(path: string, source: string): string[] {
  const local = importsOf(path, source).filter((specifier) => /^[./]/.test(specifier));
  return Array.from(new Set(local.map((specifier) => posix.join(posix.dirname(path), specifier))));
}

function importsOf(path: string, source: string): string[] {
  if (!path.endsWith(".ts")) return [];
  const inTypes = Array.from(source.matchAll(/\bimport\(\s*["']([^"']+)["']/g), (found) => found[1]!);
  return [...scan(path, withTypesAsValues(source)), ...inTypes];
}

function scan(path: string, source: string): string[] {
  try {
    return transpiler.scanImports(source).map((found) => found.path);
  } catch (error) {
    throw new Error(`${path}: its imports can't be read`, { cause: error });
  }
}

/** The scanner leaves out imports of types alone, which point somewhere all the same, and stops at a `#!`. */
function withTypesAsValues(source: string): string {
  return source
    .replace(/^#!.*/, "")
    .replace(/^(\s*import)\s+type\s+(?=[{*\w])/gm, "$1 ")
    .replace(/^(\s*export)\s+type\s+(?=[{*])/gm, "$1 ")
    .replace(/([{,]\s*)type\s+(?=[\w$]+\s*(?:,|\}|\bas\b))/g, "$1");
}

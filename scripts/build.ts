/**
 * `npm run build [-- --target=linux-arm64] [--outfile=path]`: the whole service as one file that needs neither Bun nor
 * node_modules. For another target Bun downloads its own program for that target.
 */
import { existsSync, rmSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";

// Not taken from step.ts, so that the image is built with this file alone.
const PROJECT_ROOT = join(import.meta.dir, "..");
const SOURCE = join(PROJECT_ROOT, "src");
/** The first is the program; a thread is started by the path of the second. */
const ENTRYPOINTS = [join(SOURCE, "main.ts"), join(SOURCE, "store", "thread", "entry.ts")];
const BYTES_PER_MB = 1_000_000;

/** Kafka's client reads this module's WebAssembly from a file beside it; the module has it inline as well. */
const inlineWasm: Bun.BunPlugin = {
  name: "inline WebAssembly",
  setup(build) {
    build.onResolve({ filter: /^@platformatic\/wasm-utils$/ }, ({ importer }) => ({
      path: Bun.resolveSync("@platformatic/wasm-utils/bundled", importer),
    }));
  },
};

interface BuildOptions {
  /** Undefined: this machine. */
  readonly target: Bun.Build.CompileTarget | undefined;
  readonly outfile: string;
}

function readOptions(args: string[]): BuildOptions {
  const { values } = parseArgs({
    args,
    options: {
      target: { type: "string" },
      outfile: { type: "string" },
    },
  });
  const platform = values.target?.replace(/^bun-/, "");
  if (platform === undefined) return { target: undefined, outfile: resolve(values.outfile ?? defaultPath()) };
  const target = `bun-${platform}`;
  if (!isTarget(target))
    throw new Error(`--target '${platform}': expected such as linux-x64, linux-arm64, linux-x64-musl, darwin-arm64`);
  return { target, outfile: resolve(values.outfile ?? `${defaultPath()}-${platform}`) };
}

function defaultPath(): string {
  return join(PROJECT_ROOT, "dist", "hourglass");
}

function isTarget(text: string): text is Bun.Build.CompileTarget {
  return /^bun-(linux|darwin|windows)-(x64|arm64)(-(baseline|modern))?(-(musl|glibc))?$/.test(text);
}

async function build({ target, outfile }: BuildOptions): Promise<void> {
  for (const path of ENTRYPOINTS) if (!existsSync(path)) throw new Error(`${path} is missing`);
  const result = await Bun.build({
    entrypoints: ENTRYPOINTS,
    root: SOURCE,
    target: "bun",
    // Ready after 160 ms instead of 300, and 10 MB larger. Bytecode is only made for this machine's Bun, and of modules
    // with an await at their top only in this format.
    ...(target === undefined ? { bytecode: true, format: "esm" } : {}),
    compile: {
      outfile,
      ...(target === undefined ? {} : { target }),
      // Else the program would read settings, and load code, from whatever folder it starts in.
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadTsconfig: false,
      autoloadPackageJson: false,
    },
    // main.ts handles signals before it loads the rest. In one piece all of it would be loaded first: on a busy machine
    // signals were then handled 650 ms after the start instead of 50.
    splitting: true,
    plugins: [inlineWasm],
    // Identifiers keep their names: Elysia reads the source text of handlers, and shorter names break it.
    minify: { whitespace: true, syntax: true, identifiers: false },
    // Stack traces then name lines of the source.
    sourcemap: "inline",
    define: { "process.env.NODE_ENV": JSON.stringify("production") },
    throw: false,
  });
  for (const log of result.logs) console.error(log);
  if (!result.success) throw new Error("the build failed");
  // Bun writes it beside the program as well.
  rmSync(`${outfile}.map`, { force: true });
  const megabytes = Math.round(statSync(outfile).size / BYTES_PER_MB);
  console.log(`${relative(process.cwd(), outfile)}: ${megabytes} MB, ${target ?? "for this machine"}`);
}

try {
  await build(readOptions(process.argv.slice(2)));
} catch (error) {
  console.error(`build: ${error instanceof Error ? error.message : error}`);
  process.exit(1);
}

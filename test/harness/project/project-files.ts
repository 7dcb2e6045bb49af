import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Files } from "./source-rules.ts";

export const PROJECT_ROOT = join(import.meta.dir, "..", "..", "..");

/** Folders in the project's root that are not part of the project. */
const FOREIGN = new Set([".git", "node_modules", "dist", "data", ".npm"]);
/** Texts that people read: no test data, no pictures. */
const TEXT = /(\.(ts|sql|lua|md|json|toml|ya?ml)|(^|\/)(Dockerfile|\.dockerignore|\.gitignore|\.editorconfig|run))$/;

/** All texts of the project, by path from its root. */
export async function projectFiles(): Promise<Files> {
  const top = readdirSync(PROJECT_ROOT, { withFileTypes: true }).filter((entry) => !FOREIGN.has(entry.name));
  const paths = top.flatMap((entry) => (entry.isDirectory() ? filesBelow(entry.name) : [entry.name]));
  const texts = paths.filter((path) => TEXT.test(path)).sort();
  return new Map(
    await Promise.all(texts.map(async (path) => [path, await Bun.file(join(PROJECT_ROOT, path)).text()] as const)),
  );
}

function filesBelow(folder: string): string[] {
  const glob = new Bun.Glob(`${folder}/**`);
  return Array.from(glob.scanSync({ cwd: PROJECT_ROOT, dot: true, onlyFiles: true }));
}

/**
 * The jars of a server that Debian lacks in the required version, fetched by Maven into the user's cache, once.
 *
 * Invariant: a folder under the cache is complete, since it is filled elsewhere and then renamed.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "../debian/packages.ts";
import { run } from "../debian/run.ts";

const ATTEMPTS = 4;
const RETRY_MS = 5_000;
const ATTEMPT_TIMEOUT_MS = 240_000;
/** The plugin's version, so that Maven does not look for the newest. */
const COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/** Servers that a folder beside this file has a pom.xml for. */
export type JarServer = "kafka" | "activemq";

/** Whether or not it was filled yet. */
export function jarFolder(server: JarServer): string {
  const key = Bun.hash(readFileSync(pomOf(server), "utf8")).toString(36);
  return join(cacheFolder(), `${server}-${key}`);
}

export function hasJars(server: JarServer): boolean {
  return existsSync(jarFolder(server));
}

function pomOf(server: JarServer): string {
  return join(import.meta.dir, server, "pom.xml");
}

/** Throws if it does not work after some attempts. */
export async function fetchJars(server: JarServer, signal?: AbortSignal): Promise<void> {
  const folder = jarFolder(server);
  if (existsSync(folder)) return;
  mkdirSync(cacheFolder(), { recursive: true });
  const aside = mkdtempSync(`${folder}-fetching-`);
  try {
    await copyJars(server, aside, signal);
    renameSync(aside, folder);
  } catch (error) {
    // Another process was faster.
    if (!existsSync(folder)) throw error;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

async function copyJars(server: JarServer, folder: string, signal?: AbortSignal): Promise<void> {
  const goal = [COPY, "-DincludeScope=runtime", `-DoutputDirectory=${folder}`];
  const command = ["mvn", "--quiet", "--batch-mode", "--file", pomOf(server), ...goal];
  for (let attempt = 1; ; attempt++) {
    try {
      await run(command, { signal, timeoutMs: ATTEMPT_TIMEOUT_MS });
      return;
    } catch (error) {
      if (attempt === ATTEMPTS || signal?.aborted) throw error;
      await Bun.sleep(attempt * RETRY_MS);
    }
  }
}

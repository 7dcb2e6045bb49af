/**
 * Checks whether Redis keeps what it acknowledged through a restart and, if `isStrict`, through a crash of its host.
 *
 * Invariant: a server that is loading its data is not judged: until it has loaded, it reports that it has no
 * append-only file.
 */
import { ErrorReply } from "redis";
import { HotUnavailableError } from "../hot.ts";
import type { RedisClient } from "./connection.ts";

export interface NodeSettings {
  /** The sections "persistence" and "memory". */
  readonly info: string;
  /** Redis' settings by name; undefined if this user may not read them. */
  readonly sync: Readonly<Record<string, string>> | undefined;
}

export async function readNodeSettings(client: RedisClient): Promise<NodeSettings> {
  const sections = Promise.all([client.info("persistence"), client.info("memory")]);
  const [infos, sync] = await Promise.all([sections, readSync(client)]);
  return { info: infos.join(""), sync };
}

/** CONFIG needs a right that the others do not include, and some providers let nobody use it. */
async function readSync(client: RedisClient): Promise<NodeSettings["sync"]> {
  try {
    return await client.configGet("*appendfsync*");
  } catch (error) {
    if (error instanceof ErrorReply) return undefined;
    throw error;
  }
}

/** Throws HotUnavailableError while the server loads its data. */
export function durabilityWarnings(who: string, { info, sync }: NodeSettings, isStrict: boolean): string[] {
  if (/^loading:1/m.test(info)) throw new HotUnavailableError(`${who} is loading its data`, false);
  const warnings = syncWarnings(who, sync, isStrict);
  if (!info.includes("aof_enabled:1")) {
    warnings.unshift(
      `${who} keeps no append-only file: what it acknowledged is lost when it restarts. Set 'appendonly yes'.`,
    );
  }
  const policy = /maxmemory_policy:(\S+)/.exec(info)?.[1] ?? "unknown";
  if (policy !== "noeviction") {
    warnings.push(
      `${who} may evict the journal: its maxmemory-policy is '${policy}'. Set 'maxmemory-policy noeviction'.`,
    );
  }
  return warnings;
}

function syncWarnings(who: string, sync: NodeSettings["sync"], isStrict: boolean): string[] {
  if (sync === undefined) {
    if (!isStrict) return [];
    return [
      `${who} does not let this user read its 'appendfsync'. Allow +config|get. If the provider allows CONFIG to ` +
        "nobody, make sure that it is 'always', and leave STRICT_DURABILITY at 0.",
    ];
  }
  const { appendfsync, "no-appendfsync-on-rewrite": isPaused } = sync;
  const warnings: string[] = [];
  if (appendfsync === "no" || (isStrict && appendfsync !== "always")) {
    const lost = appendfsync === "no" ? "its last 30 seconds" : "its last second";
    warnings.push(
      `${who} may lose ${lost} when its host crashes: its appendfsync is '${appendfsync}'. Set 'appendfsync always'.`,
    );
  }
  if (isStrict && isPaused !== "no") {
    warnings.push(
      `${who} does not sync while it rewrites its append-only file: its no-appendfsync-on-rewrite is '${isPaused}'. ` +
        "Set 'no-appendfsync-on-rewrite no'.",
    );
  }
  return warnings;
}

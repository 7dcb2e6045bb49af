/**
 * The test files that the long tier repeats on MySQL 9, Redis 8 and Valkey 9 instead of the installed servers.
 *
 * These servers are unpacked from Debian's unstable (test/harness/debian/) into the user's cache, once. Where that is
 * impossible, such as on a machine without Debian, these runs are skipped and the reason is shown. If it is possible
 * and fails, that is a failure under CI.
 */

import { NEWER_SERVERS, versionsOfNewerServers } from "../../test/harness/debian/newer-servers.ts";
import { unpack, whyNotUnpackable } from "../../test/harness/debian/packages.ts";
import { isCi } from "../../test/harness/servers/binaries.ts";
import type { TestFile } from "./plan.ts";

interface Engine {
  readonly name: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Prefixes of the paths of its test files. */
  readonly paths: readonly string[];
}

const MYSQL_PATHS = [
  ...["test/contract/cold/mysql/", "test/contract/replica", "test/engines/mysql-rights", "test/engines/careful"],
  ...["test/pipeline/crash", "test/pipeline/faults/mysql", "test/pipeline/stages/flush", "test/service/dead-letters"],
  ...[
    "test/service/retention",
    "test/service/tls",
    "test/cli/import.test",
    "test/cli/verify",
    "test/release/packaging",
  ],
];
const REDIS_PATHS = ["test/contract/hot/redis/contract", "test/contract/hot/redis/faults", "test/engines/redis-rights"];

const ENGINES: readonly Engine[] = [
  { name: "mysql-9", environment: { TEST_SQL_ENGINE: "mysql-9" }, paths: MYSQL_PATHS },
  { name: "redis-8", environment: { TEST_REDIS_ENGINE: "redis-8" }, paths: REDIS_PATHS },
  { name: "valkey-9", environment: { TEST_REDIS_ENGINE: "valkey-9" }, paths: REDIS_PATHS },
];
/** Test names mention a server only if it stands in for an installed one (describeWithServers). */
const NAME_PATTERN = "^(?!.*\\[long\\]).*, on (MySQL|Redis|Valkey) \\d";

/** Answers whether they are there. Throws if they should be, and cannot be brought. */
export async function provideEngines(signal: AbortSignal): Promise<boolean> {
  const reason = whyNotUnpackable();
  if (reason !== undefined) return skip(reason);
  try {
    console.log(
      "MySQL 9, Redis 8 and Valkey 9 are unpacked from Debian's unstable, if they are not yet: up to a minute.",
    );
    await unpack(NEWER_SERVERS, signal);
    console.log(`Some tests run again on ${versionsOfNewerServers().join(", ")}.`);
    return true;
  } catch (error) {
    if (isCi()) throw error;
    return skip(String(error));
  }
}

function skip(reason: string): false {
  console.warn(`\nTESTS ON MYSQL 9, REDIS 8 AND VALKEY 9 SKIPPED: ${reason}\n`);
  return false;
}

export function engineRuns(paths: Iterable<string>): TestFile[] {
  const all = [...paths];
  return ENGINES.flatMap((engine) => {
    const meant = all.filter((path) => engine.paths.some((start) => path.startsWith(start)));
    return meant.map((path) => ({ path, place: "lanes" as const, namePattern: NAME_PATTERN, engine }));
  });
}

/**
 * What the stores' open() says about durability: logs each warning once; with STRICT_DURABILITY=1 refuses a store that
 * gives one.
 *
 * Invariant: a store is refused only before its first use: at the start, or when it first answers. What is found later
 * is logged, because ending then would lose the events that only this process still has of a Redis that was replaced.
 */
import type { Log } from "../../runtime/log.ts";
import { type Config, ConfigError } from "../../settings/settings.ts";

interface Surroundings {
  readonly log: Log;
  readonly onRefusedStore: (error: ConfigError) => void;
}

/** Returns, for each store, what takes the warnings of each of its open(). It throws ConfigError. */
export function durabilityReport(
  { isDurabilityStrict }: Pick<Config, "isDurabilityStrict">,
  { log, onRefusedStore }: Surroundings,
): () => (warnings: readonly string[]) => void {
  // All shards are on the same servers and give the same warnings.
  const logged = new Set<string>();
  return () => {
    let isUsed = false;
    return (warnings) => {
      if (isDurabilityStrict && !isUsed && warnings.length > 0) {
        const error = new ConfigError(`STRICT_DURABILITY is 1, but: ${warnings.join(" ")}`);
        onRefusedStore(error);
        throw error;
      }
      isUsed = true;
      for (const warning of warnings) {
        if (!logged.has(warning)) log.warn({}, warning);
        logged.add(warning);
      }
    };
  };
}

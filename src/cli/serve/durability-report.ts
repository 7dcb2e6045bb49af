/**
 * What the stores' open() says about durability: logs each warning once; with STRICT_DURABILITY=1 refuses a store that
 * gives one.
 *
 * Invariant: the process ends only before the first use of a store: at the start, or when it first answers. If another
 * server takes over later, ending would lose the events that only this process still has. So its connections are
 * refused (Redis; see RedisHotStore), or nothing is flushed to it (MySQL), until its settings are corrected.
 */
import type { Log } from "../../runtime/log.ts";
import { type Config, ConfigError } from "../../settings/settings.ts";
import type { OnOpen } from "../../store/store-watch.ts";

interface Surroundings {
  readonly log: Log;
  readonly onRefusedStore: (error: ConfigError) => void;
}

export function durabilityReport(
  { isDurabilityStrict }: Pick<Config, "isDurabilityStrict">,
  { log, onRefusedStore }: Surroundings,
) {
  const logged = { hot: new Set<string>(), cold: new Set<string>() };
  /** All shards are on the same servers and give the same warnings. */
  const logNew = (name: "hot" | "cold", warnings: readonly string[]) => {
    for (const warning of warnings) if (!logged[name].has(warning)) log.warn({}, warning);
    logged[name] = new Set(warnings);
  };
  return {
    /** Takes the warnings of each open() of one store. It throws ConfigError. */
    ofStore(name: "hot" | "cold"): OnOpen {
      let isUsed = false;
      return (warnings) => {
        logNew(name, warnings);
        if (isDurabilityStrict && warnings.length > 0) {
          const error = new ConfigError(`STRICT_DURABILITY is 1, but: ${warnings.join(" ")}`);
          if (!isUsed) onRefusedStore(error);
          // A hot store that is in use has refused the server itself, unless only replicas are at fault.
          if (!isUsed || name === "cold") throw error;
        }
        isUsed = true;
      };
    },
    /** Takes the warnings of a Redis that took over, or was started again, and is not used because of them. */
    onRefusedServer: (warnings: readonly string[]) => logNew("hot", warnings),
  };
}

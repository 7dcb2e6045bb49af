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

export class DurabilityReport {
  readonly #isStrict: boolean;
  readonly #surroundings: Surroundings;
  readonly #logged = new Set<string>();

  constructor({ isDurabilityStrict }: Pick<Config, "isDurabilityStrict">, surroundings: Surroundings) {
    this.#isStrict = isDurabilityStrict;
    this.#surroundings = surroundings;
  }

  /** Takes the warnings of each open() of one store. It throws ConfigError. */
  ofStore(): (warnings: readonly string[]) => void {
    let isUsed = false;
    return (warnings) => {
      if (this.#isStrict && !isUsed && warnings.length > 0) this.#refuse(warnings);
      isUsed = true;
      for (const warning of warnings) this.#logOnce(warning);
    };
  }

  #refuse(warnings: readonly string[]): never {
    const error = new ConfigError(`STRICT_DURABILITY is 1, but: ${warnings.join(" ")}`);
    this.#surroundings.onRefusedStore(error);
    throw error;
  }

  /** All shards are on the same servers and give the same warnings. */
  #logOnce(warning: string): void {
    if (this.#logged.has(warning)) return;
    this.#logged.add(warning);
    this.#surroundings.log.warn({}, warning);
  }
}

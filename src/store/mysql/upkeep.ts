/**
 * Work that keeps the tables fast. If it fails, all is stored and counted nevertheless, and the next attempt makes up
 * for it.
 * Invariant: attempt() never rejects.
 */
import { isForbidden } from "./connection/sql-session.ts";

export class Upkeep {
  #failures = 0;
  #problem: string | undefined;

  /** Why attempts fail; undefined if they succeed. */
  get problem(): string | undefined {
    return this.#problem;
  }

  async attempt(work: Promise<unknown>): Promise<void> {
    try {
      await work;
      this.#failures = 0;
      this.#problem = undefined;
    } catch (error) {
      this.#failures += 1;
      const { message, cause } = error as Error;
      // A single failure is normal: another instance was at the same work, or the table was busy.
      if (isForbidden(cause) || this.#failures > 1) this.#problem = message;
    }
  }
}

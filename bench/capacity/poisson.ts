/** How many of a set of independent arrivals fall into a period. */
import type { Random } from "../../test/harness/pipeline/random.ts";

/** From this mean on, a normal distribution is close enough. */
const NORMAL_FROM = 50;

export class Poisson {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  fraction(): number {
    return this.#random.fraction();
  }

  draw(mean: number): number {
    if (mean >= NORMAL_FROM) return Math.max(0, Math.round(mean + Math.sqrt(mean) * this.#normal()));
    // Knuth: so many fractions until their product is that small.
    const limit = Math.exp(-mean);
    let product = this.#random.fraction();
    let count = 0;
    for (; product > limit; count++) product *= this.#random.fraction();
    return count;
  }

  /** Box and Muller. */
  #normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.#random.fraction()));
    return radius * Math.cos(2 * Math.PI * this.#random.fraction());
  }
}

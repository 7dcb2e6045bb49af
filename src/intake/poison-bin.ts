/**
 * Sets poison aside in the cold store, and retries while that is unavailable.
 *
 * Invariants: one transaction is in flight at a time, and the next takes everything that has arrived meanwhile. A piece
 * is reported as set aside only after it is. Messages wait for their pieces, which bounds what is held.
 */
import { backoffMs } from "../runtime/clock.ts";
import { errorText } from "../runtime/error-text.ts";
import type { Log } from "../runtime/log.ts";
import type { Poison } from "../store/cold.ts";

const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 5_000;
const PIECES_PER_TRANSACTION = 500;

interface Piece {
  readonly poison: Poison;
  readonly outcome: PromiseWithResolvers<boolean>;
}

interface PoisonBinOptions {
  readonly setAside: (poison: readonly Poison[]) => Promise<void>;
  readonly log: Log;
}

export class PoisonBin {
  readonly #options: PoisonBinOptions;
  /** The keys are digests, since a piece may arrive again before it is set aside. */
  readonly #pieces = new Map<string, Piece>();
  #failures = 0;
  #isRunning = false;
  #timer: Timer | undefined;
  #isStopped = false;

  constructor(options: PoisonBinOptions) {
    this.#options = options;
  }

  get isFailing(): boolean {
    return this.#failures > 0;
  }

  /** Resolves to false if the attempt was given up. */
  async put(poison: readonly Poison[]): Promise<boolean> {
    if (this.#isStopped) return false;
    const outcomes = poison.map((piece) => this.#add(piece));
    this.#run();
    return (await Promise.all(outcomes)).every(Boolean);
  }

  #add(poison: Poison): Promise<boolean> {
    const newPiece = () => ({ poison, outcome: Promise.withResolvers<boolean>() });
    return this.#pieces.getOrInsertComputed(poison.digest, newPiece).outcome.promise;
  }

  #run(): void {
    if (this.#isRunning || this.#timer !== undefined) return;
    this.#isRunning = true;
    void this.#empty();
  }

  /** Never throws. */
  async #empty(): Promise<void> {
    while (this.#pieces.size > 0 && !this.#isStopped) {
      const pieces = [...this.#pieces.values().take(PIECES_PER_TRANSACTION)];
      try {
        await this.#options.setAside(pieces.map(({ poison }) => poison));
      } catch (error) {
        this.#isRunning = false;
        this.#noteFailure(error);
        return;
      }
      this.#failures = 0;
      for (const { poison, outcome } of pieces) {
        this.#pieces.delete(poison.digest);
        outcome.resolve(true);
      }
    }
    // In the same tick as the check of what is left, so that a later piece finds it not running.
    this.#isRunning = false;
  }

  #noteFailure(error: unknown): void {
    const fields = { error: errorText(error), pieces: this.#pieces.size };
    if (this.#failures === 0) this.#options.log.warn(fields, "poison could not be set aside, its messages wait");
    if (this.#isStopped) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#run();
      },
      backoffMs(this.#failures++, RETRY_FIRST_MS, RETRY_MAX_MS, Math.random),
    );
  }

  /** Gives up: those who wait get false. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    for (const { outcome } of this.#pieces.values()) outcome.resolve(false);
    this.#pieces.clear();
  }
}

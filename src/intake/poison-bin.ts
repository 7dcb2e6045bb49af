/**
 * Sets poison aside in the cold store, which may be away: it is tried until it is done.
 *
 * Invariants: one transaction is under way at a time, and takes all that came meanwhile. Nobody is told that a
 * piece is set aside before it is. Bounded by the messages that may be under way, since each waits for its pieces.
 */
import { backoffMs } from "../runtime/backoff.ts";
import { errorText } from "../runtime/error-text.ts";
import type { Log } from "../runtime/log.ts";
import type { Poison } from "../store/cold.ts";

const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 5_000;
const PIECES_PER_TRANSACTION = 500;

interface Piece {
  readonly poison: Poison;
  readonly told: PromiseWithResolvers<boolean>;
}

interface PoisonBinOptions {
  readonly setAside: (poison: readonly Poison[]) => Promise<void>;
  readonly log: Log;
}

export class PoisonBin {
  readonly #options: PoisonBinOptions;
  /** By digest: the same piece may come again before it is set aside. */
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

  /** Answers false if that was given up. */
  async put(poison: readonly Poison[]): Promise<boolean> {
    if (this.#isStopped) return false;
    const told = poison.map((piece) => this.#add(piece));
    this.#run();
    return (await Promise.all(told)).every(Boolean);
  }

  #add(poison: Poison): Promise<boolean> {
    let piece = this.#pieces.get(poison.digest);
    if (piece === undefined) {
      piece = { poison, told: Promise.withResolvers<boolean>() };
      this.#pieces.set(poison.digest, piece);
    }
    return piece.told.promise;
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
      for (const { poison, told } of pieces) {
        this.#pieces.delete(poison.digest);
        told.resolve(true);
      }
    }
    // In the same step as the look at what is left: a piece that comes after it finds nobody running.
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

  /** Whoever waits is told that it was given up. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    for (const { told } of this.#pieces.values()) told.resolve(false);
    this.#pieces.clear();
  }
}

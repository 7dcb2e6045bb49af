/**
 * Sets poison aside in the cold store, and retries while that is unavailable.
 *
 * Invariants: one transaction is in flight at a time, and the next takes everything that has arrived meanwhile. A piece
 * is reported as set aside only after it is. Messages wait for their pieces, which bounds what is held. A piece that
 * the store refuses does not block the others: after each failure the next transaction is smaller, the failed pieces
 * are retried last, and a suspect is retried by itself.
 */
import { backoffMs } from "../runtime/clock.ts";
import { errorText } from "../runtime/error-text.ts";
import type { Log } from "../runtime/log.ts";
import type { Poison } from "../store/cold.ts";

const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 5_000;
const PIECES_MAX = 500;
/** The factor by which transactions shrink after a failure, and grow after a success. */
const STEP = 4;

interface Piece {
  readonly poison: Poison;
  readonly outcome: PromiseWithResolvers<boolean>;
  hasFailed: boolean;
  /** It failed again, in a transaction of its own, after the store had taken others. */
  isSuspect: boolean;
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
  #piecesPerTransaction = PIECES_MAX;
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
    const newPiece = () => {
      return { poison, outcome: Promise.withResolvers<boolean>(), hasFailed: false, isSuspect: false };
    };
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
      const pieces = this.#nextPieces();
      try {
        await this.#options.setAside(pieces.map(({ poison }) => poison));
      } catch (error) {
        this.#isRunning = false;
        this.#noteFailure(error, pieces);
        return;
      }
      this.#failures = 0;
      this.#piecesPerTransaction = Math.min(PIECES_MAX, this.#piecesPerTransaction * STEP);
      for (const { poison, outcome } of pieces) {
        this.#pieces.delete(poison.digest);
        outcome.resolve(true);
      }
    }
    // In the same tick as the check of what is left, so that a later piece finds it not running.
    this.#isRunning = false;
  }

  #nextPieces(): Piece[] {
    const unsuspected = this.#pieces.values().filter(({ isSuspect }) => !isSuspect);
    const pieces = unsuspected.take(this.#piecesPerTransaction).toArray();
    return pieces.length > 0 ? pieces : this.#pieces.values().take(1).toArray();
  }

  #noteFailure(error: unknown, failed: readonly Piece[]): void {
    if (this.#isStopped) return;
    if (this.#failures === 0) this.#report(error, failed);
    this.#piecesPerTransaction = Math.max(1, Math.floor(this.#piecesPerTransaction / STEP));
    for (const piece of failed) {
      piece.hasFailed = true;
      this.#pieces.delete(piece.poison.digest);
      this.#pieces.set(piece.poison.digest, piece);
    }
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#run();
      },
      backoffMs(this.#failures++, RETRY_FIRST_MS, RETRY_MAX_MS, Math.random),
    );
  }

  /** Names the message of a suspect, once, because it stays with the broker until the cause is gone. */
  #report(error: unknown, failed: readonly Piece[]): void {
    const first = failed[0]!;
    if (first.isSuspect) return;
    first.isSuspect = failed.length === 1 && first.hasFailed;
    const { origin, messageId } = first.poison;
    const named = first.isSuspect ? { origin, messageId } : {};
    const fields = { error: errorText(error), pieces: this.#pieces.size, ...named };
    this.#options.log.warn(fields, "poison could not be set aside, its messages wait");
  }

  /** Gives up: those who wait get false. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    for (const { outcome } of this.#pieces.values()) outcome.resolve(false);
    this.#pieces.clear();
  }
}

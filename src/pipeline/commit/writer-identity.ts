/**
 * Under which name this process writes. A name is used by one process, once: a writer that was fenced, or
 * that the hot store does not know any more, is never taken up again but replaced by a new one.
 */
import type { JournaledBatch } from "../../domain/batch.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { type HotStore, HotUnavailableError } from "../../store/hot.ts";
import type { Flusher } from "../flush/flusher.ts";
import { bearDataSet, type RecoveryOptions } from "../upkeep/journal-adoption.ts";

const UINT32 = 2 ** 32;

export interface WriterIdentityOptions {
  readonly hot: HotStore;
  readonly flusher: Flusher;
  readonly recovery: RecoveryOptions;
  readonly log: Log;
  readonly clock: Clock;
}

export class WriterIdentity {
  readonly #options: WriterIdentityOptions;
  /** Acknowledged batches of earlier writers that no store has: to be committed before anything else. */
  readonly orphans: JournaledBatch[] = [];
  #name: string | undefined;
  isLost = false;

  constructor(options: WriterIdentityOptions) {
    this.#options = options;
  }

  get name(): string | undefined {
    return this.#name;
  }

  /**
   * Gives up the present writer, if there is one, and registers a new one. Answers the last seq that the hot
   * store has of the old one. Throws HotUnavailableError or ColdUnavailableError: may then be called again.
   */
  async replace(): Promise<number> {
    const { hot, flusher, log, recovery } = this.#options;
    await hot.open();
    const old = this.#name;
    const lastSeq = old === undefined ? 0 : await hot.abandon(old);
    // Before the birth: a flush after it could bring events into an hour that was just taken for empty.
    if (old !== undefined) await flusher.moveOrphans(lastSeq, this.orphans);
    if (!(await hot.isBorn())) await bearDataSet(recovery);
    const name = this.#newName();
    if (!(await hot.register(name))) {
      throw new HotUnavailableError("The hot store lost its data while a writer was registered", false);
    }
    flusher.beginWriter(name);
    if (old !== undefined) {
      const fields = { old, writer: name, orphans: this.orphans.length };
      log.warn(fields, "this process lost its writer, and took a new one");
    }
    this.#name = name;
    this.isLost = false;
    return lastSeq;
  }

  /** Prolongs the lease; notes if it is lost. Throws HotUnavailableError. */
  async renew(committedSeq: number): Promise<void> {
    const name = this.#name;
    // A lost one is left alone: to a data set that has just been born it would be a sign of loss.
    if (name === undefined || this.isLost) return;
    const state = await this.#options.hot.renewLease(name, committedSeq);
    if (state === "lost" && name === this.#name) this.isLost = true;
  }

  /** Sorts by time, for whoever reads the table of writers. At most 64 characters of ASCII. */
  #newName(): string {
    const { clock } = this.#options;
    const random = () => Math.floor(clock.random() * UINT32).toString(36);
    return `${clock.now().toString(36)}-${random()}-${random()}`;
  }
}

/**
 * Each process's ledger, compared with its requests and answers.
 *
 * Invariants: every answered event is in one column. The ledger's pending events are pending where the events are.
 */
import type { Process } from "../world/process.ts";
import type { Report, Told } from "./events.ts";

interface Book {
  submitted: number;
  answered: number;
}

export class Books {
  readonly #books = new Map<Process, Book>();
  readonly #report: Report;
  readonly #onLost: (process: Process) => void;

  /** `onLost`: called while a process says that events are lost. */
  constructor(report: Report, onLost: (process: Process) => void) {
    this.#report = report;
    this.#onLost = onLost;
  }

  #of(process: Process): Book {
    let book = this.#books.get(process);
    if (book === undefined) {
      book = { submitted: 0, answered: 0 };
      this.#books.set(process, book);
    }
    return book;
  }

  submitted(process: Process, events: number): void {
    this.#of(process).submitted += events;
  }

  answered(process: Process, told: readonly Told[]): void {
    this.#of(process).answered += told.length;
  }

  /** Whether nobody waits for this process. */
  isIdle(process: Process): boolean {
    const { submitted, answered } = this.#of(process);
    return submitted === answered;
  }

  check(process: Process): void {
    const { ledger, pending, ringCapacityEvents } = process.pipeline;
    if (ledger.pending !== pending.events) {
      const found = `${ledger.pending} are pending by the ledger, ${pending.events} are pending`;
      this.#report("ledger", `${process.name}: ${found}`);
    }
    if (ledger.lost > 0) this.#onLost(process);
    if (pending.ring > ringCapacityEvents && pending.ring > pending.events)
      this.#report("bounds", `${process.name}: ${pending.ring} events in a ring of ${ringCapacityEvents}`);
  }

  /** Once nobody waits: every event is in one column. */
  checkColumns(process: Process): void {
    const { submitted } = this.#of(process);
    const { accepted, persisted, handedOver, duplicates, refused, unknown, unknownStored } = process.pipeline.ledger;
    if (persisted < 0 || handedOver < 0)
      this.#report("ledger", `${process.name}: ${persisted} events are persisted, ${handedOver} handed over`);
    const settled = accepted + duplicates + unknown - unknownStored;
    const counted = settled + Object.values(refused).reduce((sum, count) => sum + count, 0);
    if (counted !== submitted)
      this.#report("ledger", `${process.name} was sent ${submitted} events, and its ledger has ${counted}`);
  }
}

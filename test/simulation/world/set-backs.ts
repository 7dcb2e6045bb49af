/**
 * A cold store that is set back to a state of its own from before the fault, and what is lost by that.
 *
 * Invariant: lost rows do not return: a copy of a database that was set back since is not used.
 */
import type { Report, SentEvent, SentEvents } from "../check/events.ts";
import { checkHot } from "../check/stores.ts";
import type { ColdData, EventRow } from "../stores/cold/data.ts";
import type { ColdServer } from "../stores/cold/server.ts";
import type { HotData } from "../stores/hot/data.ts";

interface SetBacksOptions {
  readonly server: ColdServer;
  readonly events: SentEvents;
  readonly report: Report;
  /** The present one of a shard. */
  readonly hotData: (shard: number) => HotData;
  /** A hot store that has lost writes may no longer know how many events the cold store has had. */
  readonly hasLosses: () => boolean;
  readonly onLost: (isLost: (row: EventRow) => boolean) => void;
}

export class SetBacks {
  readonly #options: SetBacksOptions;
  readonly #copies = new Map<object, { readonly of: ColdData; readonly copy: ColdData }>();
  #rows: EventRow[] = [];
  /** Whose ids these data sets must not know once they are initialized again. */
  readonly #lost = new Map<HotData, SentEvent[]>();
  /** By shard: the last initialization before rows were lost. Its hours may count those. */
  readonly #initializationNumbers = new Map<number, number>();
  /** Writers whose sealing is undone: nothing keeps them from storing rows but a new epoch. */
  readonly unsealed = new Set<string>();

  constructor(options: SetBacksOptions) {
    this.#options = options;
  }

  stored(row: EventRow): void {
    this.#rows.push(row);
  }

  /** Some time before the fault. */
  copyFor(fault: object): void {
    const { data } = this.#options.server;
    this.#copies.set(fault, { of: data, copy: data.copy() });
  }

  strike(fault: object): void {
    const { server, events, hotData, hasLosses, onLost } = this.#options;
    const { data } = server;
    const taken = this.#copies.get(fault);
    if (server.isDown || taken?.of !== data) return;
    const { copy } = taken;
    const areIdsForgotten = !hasLosses();
    const isLost = ({ writer, seq }: EventRow) => seq > copy.watermark(writer);
    for (const row of this.#rows.filter(isLost)) {
      events.unstored(row);
      const hot = hotData(row.shard);
      this.#initializationNumbers.set(row.shard, hot.initializationNumber);
      if (areIdsForgotten) this.#lost.set(hot, [...(this.#lost.get(hot) ?? []), events.of(row.user)]);
    }
    this.#rows = this.#rows.filter((row) => !isLost(row));
    onLost(isLost);
    for (const { writer } of data.writers) {
      if (data.isSealed(writer) && !copy.isSealed(writer)) this.unsealed.add(writer);
    }
    // Retention deletes again what it had deleted.
    copy.sweep(data.retained());
    copy.version = data.version + 1;
    server.data = copy;
  }

  /** By now all surviving journals are stored. */
  initialized(data: HotData): void {
    for (const { rows, event } of this.#lost.get(data) ?? []) {
      if (rows === 0 && data.knowsId(event))
        this.#options.report("acknowledged-not-safe", `the id of ${event.user} is known, and no store has the event`);
    }
    this.#lost.delete(data);
  }

  /** Whether this data set, not initialized since, counts lost rows: in an hour that it holds, or as stored ones. */
  isUnnoticed(shard: number, hot: HotData): boolean {
    if (hot.initializationNumber > (this.#initializationNumbers.get(shard) ?? 0)) return false;
    const { data } = this.#options.server;
    let differs = hot.storedEvents() > data.storedEvents([], shard).total;
    checkHot(hot, data, shard, () => {
      differs = true;
    });
    return differs;
  }
}

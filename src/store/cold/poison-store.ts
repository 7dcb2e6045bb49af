/** What intakes and operators need of the cold store for messages that could not become an event. */

export interface Poison {
  /** SHA-256, in hex, of content and origin: a message that is delivered again is set aside once. */
  readonly digest: string;
  readonly origin: string;
  /** The message's id, if its sender gave it one. */
  readonly messageId: string | undefined;
  /** Of the event within the message, from 0; undefined: the message as a whole. */
  readonly position: number | undefined;
  /** The event's id, unless it names one itself. */
  readonly eventId: string | undefined;
  readonly body: string;
  readonly reason: string;
}

export interface StoredPoison extends Omit<Poison, "digest"> {
  readonly number: number;
  /** ISO 8601, UTC, by the database's clock. */
  readonly setAsideAt: string;
}

export interface PoisonStore {
  /** All in one transaction, each once by its digest. */
  setAsidePoison(poison: readonly Poison[]): Promise<void>;
  /** By number, from above `afterNumber` on. */
  poison(afterNumber: number, limit: number): Promise<readonly StoredPoison[]>;
  dropPoison(number: number): Promise<boolean>;
}

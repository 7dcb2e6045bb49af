/**
 * The cold store: rows, hourly aggregates with their sketches, and one watermark per writer.
 *
 * Invariant: the batches of a writer are stored in the order of their seq, each exactly once. The watermark moves in
 * the same transaction as the rows and the aggregates, so that a flush whose answer was lost can be sent again
 * unchanged, by the writer itself or by the adopter of its journal.
 *
 * A writer belongs to one shard, and so do its rows. Each shard's part of an hour is stored separately: an hour is the
 * sum of its parts, and the union of their sketches.
 *
 * Its interface is divided by user, a file a role: take the role that you need. Every method throws
 * ColdUnavailableError.
 */
import type { AuditStore } from "./audit-store.ts";
import type { DataSet } from "./data-set.ts";
import type { DeadLetterStore } from "./dead-letter-store.ts";
import type { ErasureStore } from "./erasure-store.ts";
import type { FlushStore } from "./flush-store.ts";
import type { IdStore } from "./id-store.ts";
import type { KeyStore } from "./key-store.ts";
import type { PoisonStore } from "./poison-store.ts";
import type { ReadStore } from "./read-store.ts";
import type { RetentionStore } from "./retention-store.ts";

export interface ColdConnection {
  readonly name: string;
  /** Where the data is, for the start-up lines: never with a password. */
  readonly description: string;
  /** Connects and migrates, under a lock. May be called again after it failed. */
  open(): Promise<void>;
  /** Which of the database's settings may lose committed transactions, and how to change them. */
  durabilityWarnings(): Promise<readonly string[]>;
  /** Created by the first call; concurrent first callers all get the same. It never changes. */
  dataSet(): Promise<DataSet>;
  /** The number of shards that the data is divided into; undefined if no instance has set it yet. */
  shardCount(): Promise<number | undefined>;
  /** Sets it to `count` unless it is set; answers the number that holds. It never changes. */
  fixShardCount(count: number): Promise<number>;
  close(): Promise<void>;
}

export interface ColdStore
  extends ColdConnection,
    FlushStore,
    IdStore,
    ReadStore,
    AuditStore,
    RetentionStore,
    ErasureStore,
    DeadLetterStore,
    PoisonStore,
    KeyStore {}

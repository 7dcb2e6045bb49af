/** What goes between cold-thread.ts and its thread: plain data, since an object's class is lost on the way. */
import { decodeBatch, encodeBatch, type JournaledBatch } from "../../domain/batch.ts";
import { UserSketches } from "../../domain/user-sketches.ts";
import type { ColdHour, ColdStore, HourAudit } from "../cold.ts";
import type { MysqlTls } from "../mysql/link.ts";

/** Which cold store: MySQL, or SQLite in `dataDir` if there is no URL. */
export interface ColdPlace {
  readonly dataDir: string;
  readonly mysqlUrl: string | undefined;
  readonly mysqlTls?: MysqlTls | undefined;
  /** 1 if it is left out. */
  readonly shards?: number | undefined;
  /** Of a replica, for reads of the past. */
  readonly mysqlReadUrl?: string | undefined;
}

export type ColdMethod = Exclude<keyof ColdStore, "name" | "description" | "pastReads">;

export interface Call {
  readonly number: number;
  readonly method: ColdMethod;
  readonly args: readonly unknown[];
}

export type Answer =
  | { readonly number: number; readonly result: unknown }
  | { readonly number: number; readonly error: string; readonly isSealed: boolean };

/** As text: one string to copy instead of some for each event. */
export interface BatchText {
  readonly seq: number;
  readonly body: string;
}

export interface PackedHour {
  readonly clicks: number;
  readonly impressions: number;
  readonly viewers: Uint8Array;
  readonly clickers: Uint8Array;
}

export interface PackedAudit extends Omit<HourAudit, "aggregate" | "rows"> {
  readonly aggregate: PackedHour | undefined;
  readonly rows: PackedHour | undefined;
}

export function packBatches(batches: readonly JournaledBatch[]): BatchText[] {
  return batches.map((batch) => ({ seq: batch.seq, body: encodeBatch(batch) }));
}

export function unpackBatches(batches: readonly BatchText[]): JournaledBatch[] {
  return batches.map(({ seq, body }) => decodeBatch(seq, body, []));
}

export function packHour(hour: ColdHour | undefined): PackedHour | undefined {
  if (hour === undefined) return undefined;
  const { clicks, impressions, users } = hour;
  return { clicks, impressions, ...users.encode() };
}

export function unpackHour(hour: PackedHour | undefined): ColdHour | undefined {
  if (hour === undefined) return undefined;
  const { clicks, impressions, viewers, clickers } = hour;
  return { clicks, impressions, users: UserSketches.decode(viewers, clickers) };
}

export function packAudit({ aggregate, rows, ...rest }: HourAudit): PackedAudit {
  return { ...rest, aggregate: packHour(aggregate), rows: packHour(rows) };
}

export function unpackAudit({ aggregate, rows, ...rest }: PackedAudit): HourAudit {
  return { ...rest, aggregate: unpackHour(aggregate), rows: unpackHour(rows) };
}

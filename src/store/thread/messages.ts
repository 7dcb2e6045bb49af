/** The messages between proxy.ts and its thread: plain data, since structured cloning loses an object's class. */
import { decodeBatch, encodeBatch, type JournaledBatch } from "../../domain/event.ts";
import type { HourTotals } from "../../domain/hour-range.ts";
import { UserSketches } from "../../domain/unique-users/sketch.ts";
import { type ColdStore, flushName, type HourAudit } from "../cold.ts";

type AsyncMethod = (...args: never[]) => Promise<unknown>;

export type ColdMethod = {
  [Name in keyof ColdStore]: ColdStore[Name] extends AsyncMethod ? Name : never;
}[keyof ColdStore];

export interface Call {
  readonly number: number;
  readonly method: ColdMethod;
  readonly args: readonly unknown[];
}

export type Answer =
  | { readonly number: number; readonly result: unknown }
  | { readonly number: number; readonly error: string; readonly isSealed: boolean };

/** `unpack` turns the output of `pack` into an equal of its input. */
interface Packing<T> {
  pack(value: T): unknown;
  unpack(packed: unknown): T;
}

interface MethodPacking<Args, Result> {
  /** Describes the call in error messages; the default is the method's name. */
  what?(args: Args): string;
  readonly args?: Packing<Args>;
  readonly result?: Packing<Result>;
}

type PackingOf<Method extends ColdMethod> = MethodPacking<
  Parameters<ColdStore[Method]>,
  Awaited<ReturnType<ColdStore[Method]>>
>;

/** A batch as text: copying one string is cheaper than copying several for each event. */
interface BatchText {
  readonly seq: number;
  readonly body: string;
}

type PackedHour = { readonly clicks: number; readonly impressions: number } & ReturnType<UserSketches["encode"]>;

/** Methods whose arguments or result structured cloning would break. */
const PACKING: { readonly [Method in ColdMethod]?: PackingOf<Method> } = {
  flush: {
    what: ([writer, batches]) => flushName(writer, batches),
    args: {
      pack: ([writer, batches, ...where]) => [writer, batches.map(packBatch), ...where],
      unpack: ([writer, batches, ...where]: [string, BatchText[], number?, number?]) => {
        return [writer, batches.map(unpackBatch), ...where];
      },
    },
  },
  read: { result: { pack: packHour, unpack: unpackHour } },
  audit: {
    result: {
      pack: (audit) => ({ ...audit, aggregate: packHour(audit.aggregate), rows: packHour(audit.rows) }),
      unpack: (audit: HourAudit & { aggregate?: PackedHour; rows?: PackedHour }) => {
        return { ...audit, aggregate: unpackHour(audit.aggregate), rows: unpackHour(audit.rows) };
      },
    },
  },
};

export function packingOf(method: ColdMethod): MethodPacking<unknown[], unknown> {
  return (PACKING[method] ?? {}) as MethodPacking<unknown[], unknown>;
}

function packBatch(batch: JournaledBatch): BatchText {
  return { seq: batch.seq, body: encodeBatch(batch) };
}

function unpackBatch({ seq, body }: BatchText): JournaledBatch {
  return decodeBatch(seq, body, []);
}

function packHour(hour: HourTotals | undefined): PackedHour | undefined {
  if (hour === undefined) return undefined;
  const { clicks, impressions, users } = hour;
  return { clicks, impressions, ...users.encode() };
}

function unpackHour(hour: PackedHour | undefined): HourTotals | undefined {
  if (hour === undefined) return undefined;
  const { clicks, impressions, viewers, clickers } = hour;
  return { clicks, impressions, users: UserSketches.decode(viewers, clickers) };
}

/** One hour of a hot store with its sketches, read as a range, since a read of one hour shows only their counts. */
import { HOUR_MS, type HourKey } from "../../domain/event.ts";
import type { HourRecord } from "../../domain/hour-range.ts";
import type { HotStore } from "../../store/hot.ts";

/** Throws HotUnavailableError. */
export async function readHeldHour(
  hot: HotStore,
  { hour, stream }: HourKey,
): Promise<HourRecord | "empty" | "absent" | "uninitialized"> {
  const range = { from: hour, to: hour + HOUR_MS, streams: { text: stream, isPrefix: false } };
  const shown: HourRecord[] = [];
  const freshFrom = await hot.readRange(range, (record) => shown.push(record));
  if (freshFrom === "uninitialized") return freshFrom;
  return shown[0] ?? (hour >= freshFrom ? "empty" : "absent");
}

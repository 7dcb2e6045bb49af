/**
 * Reads the held hours of a range in slices, which neither block Redis for long nor delay commits.
 *
 * Invariant: each hour is visited once, although hours may be retired and hydrated between two slices, because slices
 * follow the order of hour and stream. A later slice's `freshFrom` holds for earlier slices too: an hour that was
 * absent lies before it, and an hour that was empty had no events when the read began.
 */
import type { HourRange, HourRecord } from "../../domain/hour-range.ts";
import { UserSketches } from "../../domain/unique-users/sketch.ts";
import { letOthersRun } from "../../runtime/clock.ts";
import { DamagedSketchError } from "./changed-keys.ts";
import { list, type ReadReply, unexpected } from "./link.ts";

/** A unit is about 3 µs of Redis: one hour of one stream, or a tenth of a search within an hour. */
const SLICE_WORK = 2_000;
const SLICE_BYTES = 4_194_304;
/** Hours between two yields to the event loop. A sketch takes up to 0.1 ms to decode. */
const HOURS_PER_PIECE = 20;

const HEAD_PARTS = 3;
/** The text parts of an hour. The other two are its sketches. */
const COUNT_PARTS = 4;
const HOUR_PARTS = 6;

export type RunSlice = <T>(args: string[], read: ReadReply<T>) => Promise<T>;

export async function readHeldRange(
  runSlice: RunSlice,
  { from, to, streams }: HourRange,
  visit: (hour: HourRecord) => void,
): Promise<number | "uninitialized"> {
  let resumeAt = { hour: String(from), stream: "" };
  for (;;) {
    const selection = [String(to), streams.text, streams.isPrefix ? "1" : "0"];
    const limits = [String(SLICE_WORK), String(SLICE_BYTES)];
    const parts = await runSlice([resumeAt.hour, ...selection, resumeAt.stream, ...limits], partsOf);
    if (parts === "uninitialized") return parts;
    await showHours(parts, visit);
    const [freshFrom, hour, stream] = parts.slice(0, HEAD_PARTS).map(String);
    if (hour === "") return Number(freshFrom);
    resumeAt = { hour: hour!, stream: stream! };
  }
}

function partsOf(answer: unknown): readonly Buffer[] | "uninitialized" {
  if (answer === null) return "uninitialized";
  const parts = list(answer);
  const areAllBytes = parts.every((part): part is Buffer => part instanceof Buffer);
  if (parts.length % HOUR_PARTS !== HEAD_PARTS || !areAllBytes) throw unexpected(answer, "hours with sketches");
  return parts;
}

async function showHours(parts: readonly Buffer[], visit: (hour: HourRecord) => void): Promise<void> {
  for (let at = HEAD_PARTS; at < parts.length; at += HOUR_PARTS) {
    const [hour, stream, clicks, impressions] = parts.slice(at, at + COUNT_PARTS).map(String);
    const [viewers, clickers] = parts.slice(at + COUNT_PARTS, at + HOUR_PARTS);
    visit({
      hour: Number(hour),
      stream: stream!,
      clicks: Number(clicks),
      impressions: Number(impressions),
      users: usersOf(clicks!, impressions!, viewers!, clickers!),
    });
    if (at % (HOURS_PER_PIECE * HOUR_PARTS) === HEAD_PARTS) await letOthersRun();
  }
}

function usersOf(clicks: string, impressions: string, viewers: Buffer, clickers: Buffer): UserSketches {
  const isSketchMissing =
    (Number(clicks) > 0 && clickers.length === 0) || (Number(impressions) > 0 && viewers.length === 0);
  if (clicks === "" || isSketchMissing) {
    throw new DamagedSketchError("Redis lacks keys of an hour, which something else has deleted: try again", false);
  }
  try {
    return UserSketches.decode(viewers, clickers);
  } catch (cause) {
    throw new DamagedSketchError("Redis holds a sketch that something else has changed", false, { cause });
  }
}

/**
 * Answers for /series and /streams: caching, compression and errors.
 *
 * Invariant: no cache serves an answer without revalidation. An event may still arrive for any past hour, and every
 * reader must see it after its 204. So answers about the past may be cached but must be revalidated by ETag; others are
 * not cached at all.
 */
import type { UserCounts } from "../../../domain/unique-users/sketch.ts";
import { RangeTooLargeError } from "../../../pipeline/read/range-reader.ts";
import { csvRecord } from "../../../protocol/csv.ts";
import type { Log } from "../../../runtime/log.ts";
import { SlotsFullError } from "../../../runtime/slots.ts";
import { answerToError, errorAnswer, NO_STORE } from "../../answers.ts";
import { acceptsGzip, CONTENT_TYPES, etagOf, type Format, gzip, matches } from "../../format-etag-gzip.ts";

/** About one packet: compressing less would not send it faster. */
const PACKED_MIN_CHARS = 1_400;

/** Why acknowledged events may be missing. */
export const DEGRADED = ["hot-store-away", "not-flushed-yet", "not-kept", "erased"] as const;

export type Degraded = (typeof DEGRADED)[number];

interface RangeBody {
  readonly format: Format;
  readonly text: string;
  readonly degraded: Degraded | undefined;
  readonly isPast: boolean;
}

/** `isKept`: the cold store has not dropped any hour of the range. */
export function degradedOf(isHotStoreAway: boolean, isKept: boolean): Degraded | undefined {
  if (isHotStoreAway) return "hot-store-away";
  return isKept ? undefined : "not-kept";
}

export async function rangeAnswer(request: Request, body: RangeBody): Promise<Response> {
  const { format, text, degraded, isPast } = body;
  const isPacked = text.length >= PACKED_MIN_CHARS && acceptsGzip(request);
  const headers: Record<string, string> = { "content-type": CONTENT_TYPES[format], vary: "accept, accept-encoding" };
  if (degraded !== undefined) headers["hourglass-degraded"] = degraded;
  if (degraded !== undefined || !isPast) Object.assign(headers, NO_STORE);
  else {
    const etag = etagOf(format, text);
    // A weak tag: compressed bytes differ, but mean the same.
    Object.assign(headers, { "cache-control": "no-cache", etag: isPacked ? `W/${etag}` : etag });
    if (matches(request.headers.get("if-none-match"), etag)) {
      delete headers["content-type"];
      return new Response(null, { status: 304, headers });
    }
  }
  if (!isPacked) return new Response(text, { headers });
  return new Response(await gzip(text), { headers: { ...headers, "content-encoding": "gzip" } });
}

export function rangeErrorAnswer(error: unknown, log: Log, request: Request): Response {
  if (error instanceof RangeTooLargeError) {
    const message = `the range has ${error.message}: request fewer hours or a narrower branch`;
    return errorAnswer(422, { code: "range_too_large", message });
  }
  if (error instanceof SlotsFullError) {
    const message = "too many ranges are being read: retry";
    return errorAnswer(503, { code: "overloaded", message }, { "retry-after": "1" });
  }
  return answerToError(error, log, request);
}

export function ctrOf({ clicks, impressions }: { clicks: number; impressions: number }): number | null {
  return impressions === 0 ? null : clicks / impressions;
}

/** Clicks, impressions and users, under their names in answers. */
export function sumsOf(sums: { readonly clicks: number; readonly impressions: number } & UserCounts) {
  const { clicks, impressions, uniqueUsers, uniqueClickers, uniqueViewers } = sums;
  return {
    ...{ clicks, impressions, ctr: ctrOf(sums) },
    ...{ unique_users: uniqueUsers, unique_clickers: uniqueClickers, unique_viewers: uniqueViewers },
  };
}

export function csvOf(header: string, rows: readonly (readonly (string | number | null)[])[]): string {
  return [header, ...rows.map(csvRecord), ""].join("\n");
}

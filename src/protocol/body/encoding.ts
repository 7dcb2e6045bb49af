/**
 * Receives and decompresses the body of a request.
 * Invariant: neither form exceeds BODY_MAX_BYTES. A truncated body is refused, never read in part.
 */
import { promisify } from "node:util";
import { constants, gunzip, zstdDecompress } from "node:zlib";
import { errorText } from "../../runtime/error-text.ts";
import type { ErrorBody } from "../error-body.ts";
import { BODY_MAX_BYTES } from "./limits.ts";
import { RefusedBodyError } from "./refused-body.ts";
import { areWholeZstdFrames } from "./zstd-frames.ts";

export const UNREADABLE_BODY: ErrorBody = {
  code: "unreadable_body",
  message: "The body arrived incompletely. Nothing was counted.",
};

type BodyEncoding = "identity" | "gzip" | "zstd";

/** 8 MiB, as RFC 8878 recommends: with a larger window, a few bytes could demand much memory. */
const ZSTD_WINDOW_MAX_LOG = 23;
const LIMITS = { maxOutputLength: BODY_MAX_BYTES };
const ZSTD_LIMITS = { ...LIMITS, params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_MAX_LOG } };
const ungzip = promisify<Buffer, object, Buffer>(gunzip);
const unzstd = promisify<Buffer, object, Buffer>(zstdDecompress);
const ENCODINGS: readonly BodyEncoding[] = ["identity", "gzip", "zstd"];
const EXPECTS_ENCODING = "gzip, zstd, or no such header";

/** `got`: the content-encoding header, null if absent. Throws RefusedBodyError (415). */
export function encodingOf(got: string | null): BodyEncoding {
  const encoding = ENCODINGS.find((known) => known === (got ?? "identity").trim().toLowerCase());
  if (encoding === undefined) throw unsupportedEncoding(got);
  return encoding;
}

export function unsupportedEncoding(got: string | null): RefusedBodyError {
  const message = `content-encoding: got ${JSON.stringify(got)}, expected ${EXPECTS_ENCODING}`;
  const error = { code: "unsupported_encoding", message, field: "content-encoding", got };
  return new RefusedBodyError(415, { ...error, expected: EXPECTS_ENCODING }, { "accept-encoding": "gzip, zstd" });
}

/** Throws RefusedBodyError (413). */
export function checkSize(bytes: number): void {
  if (bytes > BODY_MAX_BYTES) throw tooLarge("The body");
}

/** Returns the body still compressed. Throws RefusedBodyError. */
export async function receive(request: Request): Promise<Buffer> {
  const announced = request.headers.get("content-length");
  checkSize(Number(announced));
  try {
    return announced === null ? await receiveChunks(request) : Buffer.from(await request.arrayBuffer());
  } catch (error) {
    if (error instanceof RefusedBodyError) throw error;
    throw new RefusedBodyError(400, UNREADABLE_BODY);
  }
}

/** Reads a body of unknown length; buffers no more than the limit. */
async function receiveChunks({ body }: Request): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.byteLength;
    checkSize(bytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Decompresses in another thread. Throws RefusedBodyError. */
export async function unpack(bytes: Buffer, encoding: BodyEncoding): Promise<Buffer> {
  if (encoding === "identity") return bytes;
  if (encoding === "zstd" && !areWholeZstdFrames(bytes))
    throw notPacked(encoding, "it is truncated, or not a zstd frame");
  try {
    return await (encoding === "gzip" ? ungzip(bytes, LIMITS) : unzstd(bytes, ZSTD_LIMITS));
  } catch (error) {
    const isTooLarge = (error as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE";
    throw isTooLarge ? tooLarge("The decompressed body") : notPacked(encoding, errorText(error));
  }
}

function tooLarge(what: string): RefusedBodyError {
  const message = `${what} exceeds ${BODY_MAX_BYTES} bytes. Nothing was counted; split it.`;
  return new RefusedBodyError(413, { code: "body_too_large", message });
}

export function notPacked(encoding: BodyEncoding, found: string): RefusedBodyError {
  const message = `The body could not be decompressed as ${encoding}: ${found}. Nothing was counted.`;
  return new RefusedBodyError(400, { code: "malformed_body", message });
}

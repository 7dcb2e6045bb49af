/**
 * The body of a request, received whole and unpacked.
 * Invariant: neither what comes in nor what it unpacks to is ever more than BODY_MAX_BYTES, and a body that is
 * cut off anywhere is refused, never read in part.
 */
import { constants, gunzip, zstdDecompress } from "node:zlib";
import { errorText } from "../runtime/deadline.ts";
import { type ErrorBody, RefusedBodyError } from "./refused-body.ts";
import { areWholeZstdFrames } from "./zstd-frames.ts";

export const UNREADABLE_BODY: ErrorBody = {
  code: "unreadable_body",
  message: "the body did not arrive whole: nothing was counted",
};

export type BodyEncoding = "identity" | "gzip" | "zstd";

export const BODY_MAX_BYTES = 4_194_304;
/** What RFC 8878 asks every decoder for: 8 MiB. More would let a few bytes ask for that much memory. */
const ZSTD_WINDOW_MAX_LOG = 23;
const ENCODINGS: readonly BodyEncoding[] = ["identity", "gzip", "zstd"];
const EXPECTS_ENCODING = "gzip or zstd, or no such header";

/** `got`: the value of content-encoding, null if there is none. Throws RefusedBodyError (415). */
export function encodingOf(got: string | null): BodyEncoding {
  const encoding = ENCODINGS.find((known) => known === (got ?? "identity").trim().toLowerCase());
  if (encoding !== undefined) return encoding;
  const message = `content-encoding: got ${JSON.stringify(got)}, expected ${EXPECTS_ENCODING}`;
  const error = { code: "unsupported_encoding", message, field: "content-encoding", got };
  throw new RefusedBodyError(
    415,
    { ...error, expected: EXPECTS_ENCODING },
    { "accept-encoding": "gzip, zstd" },
  );
}

/** Throws RefusedBodyError (413). */
export function checkSize(bytes: number): void {
  if (bytes > BODY_MAX_BYTES) throw tooLarge("the body");
}

/** As it came over the wire. Throws RefusedBodyError. */
export async function receive(request: Request): Promise<Buffer> {
  checkSize(Number(request.headers.get("content-length")));
  let bytes: ArrayBuffer;
  try {
    bytes = await request.arrayBuffer();
  } catch {
    throw new RefusedBodyError(400, UNREADABLE_BODY);
  }
  checkSize(bytes.byteLength);
  return Buffer.from(bytes);
}

/** In another thread. Throws RefusedBodyError. */
export async function unpack(bytes: Buffer, encoding: BodyEncoding): Promise<Buffer> {
  if (encoding === "identity") return bytes;
  if (encoding === "zstd" && !areWholeZstdFrames(bytes))
    throw notPacked(encoding, "it is cut off, or no frame");
  try {
    return await (encoding === "gzip" ? ungzip(bytes) : unzstd(bytes));
  } catch (error) {
    const isTooLarge = (error as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE";
    throw isTooLarge ? tooLarge("what the body unpacks to") : notPacked(encoding, errorText(error));
  }
}

function ungzip(bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    gunzip(bytes, { maxOutputLength: BODY_MAX_BYTES }, (error, unpacked) => {
      if (error === null || error === undefined) resolve(unpacked);
      else reject(error);
    });
  });
}

function unzstd(bytes: Buffer): Promise<Buffer> {
  const params = { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_MAX_LOG };
  return new Promise((resolve, reject) => {
    zstdDecompress(bytes, { maxOutputLength: BODY_MAX_BYTES, params }, (error, unpacked) => {
      if (error === null || error === undefined) resolve(unpacked);
      else reject(error);
    });
  });
}

function tooLarge(what: string): RefusedBodyError {
  const message = `${what} has more than ${BODY_MAX_BYTES} bytes: nothing was counted, send it in parts`;
  return new RefusedBodyError(413, { code: "body_too_large", message });
}

function notPacked(encoding: BodyEncoding, found: string): RefusedBodyError {
  const message = `the body could not be unpacked as ${encoding}: ${found}: nothing was counted`;
  return new RefusedBodyError(400, { code: "malformed_body", message });
}

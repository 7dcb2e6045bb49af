/**
 * Decompresses batches in each format that Kafka knows.
 *
 * Invariant: a batch of records never expands beyond the bound, whoever made it.
 */
import { promisify } from "node:util";
import { gunzip, zstdDecompress } from "node:zlib";
import { areWholeZstdFrames } from "../../protocol/body/zstd-frames.ts";
import { unpackLz4Frames } from "./lz4.ts";
import { unpackSnappy } from "./snappy.ts";

/** A batch has 1 MB by default, and text shrinks to a tenth. */
const UNPACKED_MAX_BYTES = 64 * 1024 * 1024;

const inGzip = promisify(gunzip);
const inZstd = promisify(zstdDecompress);

/** `compression` is the number in the batch. Throws if it is unknown, or if the data are damaged or too large. */
export async function decompress(
  compression: number,
  data: Buffer,
  maxOutputLength = UNPACKED_MAX_BYTES,
): Promise<Buffer> {
  if (compression === 0) return data;
  if (compression === 1) return await inGzip(data, { maxOutputLength });
  if (compression === 2) return unpackSnappy(data, maxOutputLength);
  if (compression === 3) return unpackLz4Frames(data, maxOutputLength);
  if (compression === 4 && !areWholeZstdFrames(data)) throw new RangeError("the compressed data are truncated");
  if (compression === 4) return await inZstd(data, { maxOutputLength });
  throw new Error(`compression ${compression} is unknown`);
}

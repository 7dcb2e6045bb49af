/**
 * Unpacks what producers have compressed, in each way that Kafka knows.
 *
 * Invariant: no more than UNPACKED_MAX_BYTES come out of a batch of records, whoever made it.
 */
import { promisify } from "node:util";
import { gunzip, zstdDecompress } from "node:zlib";
import { unpackLz4Frames } from "./lz4.ts";
import { unpackSnappy } from "./snappy.ts";

/** A batch is 1 MB large by default, and text shrinks to a tenth. */
const UNPACKED_MAX_BYTES = 64 * 1024 * 1024;
const LIMIT = { maxOutputLength: UNPACKED_MAX_BYTES };

const inGzip = promisify(gunzip);
const inZstd = promisify(zstdDecompress);

/** By the number that a batch says it with. Throws if it is unknown, or the data are damaged or too large. */
export async function decompress(compression: number, data: Buffer): Promise<Buffer> {
  if (compression === 0) return data;
  if (compression === 1) return await inGzip(data, LIMIT);
  if (compression === 2) return unpackSnappy(data, UNPACKED_MAX_BYTES);
  if (compression === 3) return unpackLz4Frames(data, UNPACKED_MAX_BYTES);
  if (compression === 4) return await inZstd(data, LIMIT);
  throw new Error(`compression ${compression} is unknown`);
}

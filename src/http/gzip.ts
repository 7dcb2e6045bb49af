/** Compression of answers, in another thread. */
import { promisify } from "node:util";
import { gzip as compress } from "node:zlib";

export const gzip: (data: string | ArrayBuffer) => Promise<Buffer<ArrayBuffer>> = promisify(compress);

const ACCEPTS_GZIP = /(?:^|,)\s*gzip\s*(?:$|,|;(?!\s*q=0(?:\.0*)?\s*(?:,|$)))/i;

export function acceptsGzip({ headers }: Request): boolean {
  return ACCEPTS_GZIP.test(headers.get("accept-encoding") ?? "");
}

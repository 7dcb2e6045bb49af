/**
 * What a file, or standard input, holds: unpacked if it is gzip (by its first bytes, whatever its name), block by
 * block in constant memory.
 */
import { createReadStream, statSync } from "node:fs";
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { errorText } from "../../runtime/deadline.ts";
import { ImportError } from "./import-error.ts";

export interface Source {
  /** For who runs it. */
  readonly name: string;
  /** Undefined: standard input. */
  readonly path: string | undefined;
  /** What is in it can be read again: it is no pipe. */
  readonly isRepeatable: boolean;
  /** Packed, if it is packed; undefined if it is not known. */
  readonly sizeBytes: number | undefined;
}

const STDIN: Source = { name: "standard input", path: undefined, isRepeatable: false, sizeBytes: undefined };
const BLOCK_BYTES = 262_144;
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b]);

/** `paths`: "-" is standard input, and so are none. Throws ImportError: before anything is sent. */
export function sourcesOf(paths: readonly string[]): Source[] {
  if (paths.length === 0) return [STDIN];
  if (paths.filter((path) => path === "-").length > 1) throw new ImportError("'-' is given more than once");
  return paths.map((path) => (path === "-" ? STDIN : fileSource(path)));
}

function fileSource(path: string): Source {
  try {
    const stat = statSync(path);
    if (stat.isDirectory()) throw new Error("it is a folder");
    const isRepeatable = stat.isFile();
    return { name: path, path, isRepeatable, sizeBytes: isRepeatable ? stat.size : undefined };
  } catch (error) {
    throw new ImportError(`cannot read ${path}: ${errorText(error)}`);
  }
}

export class Content {
  readonly #source: Source;
  readonly #blocks: AsyncGenerator<Buffer>;
  readonly #peeked: Buffer[] = [];
  #readBytes = 0;

  constructor(source: Source) {
    this.#source = source;
    this.#blocks = this.#unpacked();
  }

  /** Of the source's size: packed, if it is packed. */
  get readBytes(): number {
    return this.#readBytes;
  }

  /** The first bytes: fewer only if there are no more. They come in blocks() all the same. Throws ImportError. */
  async head(maxBytes: number): Promise<Buffer> {
    let bytes = this.#peeked.reduce((sum, block) => sum + block.length, 0);
    while (bytes < maxBytes) {
      const { value, done } = await this.#blocks.next();
      if (done) break;
      this.#peeked.push(value);
      bytes += value.length;
    }
    return Buffer.concat(this.#peeked).subarray(0, maxBytes);
  }

  /** Once. Throws ImportError. */
  async *blocks(): AsyncGenerator<Buffer> {
    yield* this.#peeked.splice(0);
    yield* this.#blocks;
  }

  async close(): Promise<void> {
    await this.#blocks.return(undefined);
  }

  async *#unpacked(): AsyncGenerator<Buffer> {
    const raw = this.#raw();
    try {
      const begin = await firstBytes(raw, GZIP_MAGIC.length);
      const whole = chained(begin, raw);
      yield* begin.indexOf(GZIP_MAGIC) === 0 ? gunzipped(whole) : whole;
    } catch (error) {
      const where = `after ${this.#readBytes} bytes of it`;
      throw new ImportError(`cannot read ${this.#source.name}: ${errorText(error)} (${where})`);
    } finally {
      await raw.return(undefined);
    }
  }

  async *#raw(): AsyncGenerator<Buffer> {
    const { path } = this.#source;
    const stream =
      path === undefined ? process.stdin : createReadStream(path, { highWaterMark: BLOCK_BYTES });
    for await (const block of stream as AsyncIterable<Buffer>) {
      this.#readBytes += block.length;
      yield block;
    }
  }
}

async function firstBytes(blocks: AsyncGenerator<Buffer>, count: number): Promise<Buffer> {
  let begin: Buffer = Buffer.alloc(0);
  while (begin.length < count) {
    const { value, done } = await blocks.next();
    if (done) break;
    begin = Buffer.concat([begin, value]);
  }
  return begin;
}

async function* chained(begin: Buffer, rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  if (begin.length > 0) yield begin;
  yield* rest;
}

/** Parts that are packed one by one are one content. One that is cut off is an error, behind all that is whole. */
async function* gunzipped(packed: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ chunkSize: BLOCK_BYTES });
  // Its end, or error, is that of `gunzip` too, which is where it is awaited.
  pipeline(Readable.from(packed), gunzip, () => {});
  yield* gunzip as AsyncIterable<Buffer>;
}

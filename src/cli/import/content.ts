/**
 * Reads a file or standard input in blocks, with constant memory. Decompresses gzip (detected by its first bytes) and
 * converts UTF-16 with a byte order mark to UTF-8.
 */
import { createReadStream, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { pipeline, Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { createGunzip } from "node:zlib";
import { errorText } from "../../runtime/error-text.ts";
import { ImportError } from "./import-error.ts";

export interface Source {
  readonly name: string;
  readonly path: string | undefined;
  /** It can be read again, unlike a pipe. */
  readonly isRepeatable: boolean;
  /** Size on disk; undefined if unknown. */
  readonly sizeBytes: number | undefined;
}

const STDIN: Source = { name: "standard input", path: undefined, isRepeatable: false, sizeBytes: undefined };
const BLOCK_BYTES = 262_144;
/** How much of what was read from a followed file is compared before reading on. */
const COMPARED_BYTES = 4_096;
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b]);
const UTF_16_MARKS = { "utf-16le": Buffer.from([0xff, 0xfe]), "utf-16be": Buffer.from([0xfe, 0xff]) };
const NOTHING_NEW = Buffer.alloc(0);
/** A renamed file is read until nothing new arrives for this long, since its writer may still have it open. */
const ROTATED_GRACE_MS = 3_000;

export interface Following {
  readonly pollMs: number;
  readonly stopped: AbortSignal;
}

/** `paths`: "-" means standard input, as does an empty list. Throws ImportError. */
export function sourcesOf(paths: readonly string[], mayBeMissing = false): Source[] {
  if (paths.length === 0) return [STDIN];
  if (paths.filter((path) => path === "-").length > 1) throw new ImportError("'-' is given more than once");
  return paths.map((path) => (path === "-" ? STDIN : fileSource(path, mayBeMissing)));
}

function fileSource(path: string, mayBeMissing: boolean): Source {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined && mayBeMissing) return { name: path, path, isRepeatable: true, sizeBytes: undefined };
    if (stat === undefined) throw new Error("there is no such file");
    if (stat.isDirectory()) throw new Error("it is a folder");
    const isRepeatable = stat.isFile();
    return { name: path, path, isRepeatable, sizeBytes: isRepeatable ? stat.size : undefined };
  } catch (error) {
    throw new ImportError(`cannot read ${path}: ${errorText(error)}`);
  }
}

export class Content {
  readonly #source: Source;
  readonly #following: Following | undefined;
  readonly #blocks: AsyncGenerator<Buffer>;
  readonly #peeked: Buffer[] = [];
  #readBytes = 0;
  #isGzip = false;

  /**
   * `following`: also reads what is appended, until the file is replaced or truncated, or following is stopped. Yields
   * empty blocks while there is nothing new.
   */
  constructor(source: Source, following?: Following) {
    this.#source = source;
    this.#following = following;
    this.#blocks = this.#decompressed();
  }

  get readBytes(): number {
    return this.#readBytes;
  }

  /** Whether the file may grow; known after the first block. */
  get isGrowing(): boolean {
    return this.#source.isRepeatable && !this.#isGzip;
  }

  /** The first bytes, fewer only if there are no more. blocks() includes them. Throws ImportError. */
  async head(maxBytes: number): Promise<Buffer> {
    let bytes = this.#peeked.reduce((sum, block) => sum + block.length, 0);
    while (bytes < maxBytes) {
      const { value, done } = await this.#blocks.next();
      // A followed file has no end: one complete line suffices.
      if (done || (value.length === 0 && this.#peeked.some((block) => block.includes("\n")))) break;
      this.#peeked.push(value);
      bytes += value.length;
    }
    return Buffer.concat(this.#peeked).subarray(0, maxBytes);
  }

  /** Call it once. Throws ImportError. */
  async *blocks(): AsyncGenerator<Buffer> {
    yield* this.#peeked.splice(0);
    yield* this.#blocks;
  }

  async close(): Promise<void> {
    await this.#blocks.return(undefined);
  }

  async *#decompressed(): AsyncGenerator<Buffer> {
    const raw = this.#raw();
    try {
      const begin = await firstBytes(raw, GZIP_MAGIC.length);
      const whole = chained(begin, raw);
      this.#isGzip = begin.indexOf(GZIP_MAGIC) === 0;
      yield* utf8(this.#isGzip ? gunzipped(whole) : whole);
    } catch (error) {
      const where = `after ${this.#readBytes} bytes of it`;
      throw new ImportError(`cannot read ${this.#source.name}: ${errorText(error)} (${where})`);
    } finally {
      await raw.return(undefined);
    }
  }

  async *#raw(): AsyncGenerator<Buffer> {
    const { path, isRepeatable } = this.#source;
    if (this.#following !== undefined && path !== undefined && isRepeatable) {
      yield* this.#followed(path, this.#following);
      return;
    }
    const stream = path === undefined ? process.stdin : createReadStream(path, { highWaterMark: BLOCK_BYTES });
    for await (const block of stream as AsyncIterable<Buffer>) {
      this.#readBytes += block.length;
      yield block;
    }
  }

  /** Keeps the file open, so that a renamed file is read to its end. */
  async *#followed(path: string, { pollMs, stopped }: Following): AsyncGenerator<Buffer> {
    const file = await open(path);
    try {
      const { ino } = await file.stat();
      /** Since when nothing new came from the renamed file. */
      let quietSinceMs: number | undefined;
      let last = NOTHING_NEW;
      for (;;) {
        const block = await blockAfter(last, file, this.#readBytes);
        if (block === undefined) return;
        if (block.length > 0) {
          this.#readBytes += block.length;
          last = Buffer.concat([last, block.subarray(-COMPARED_BYTES)]).subarray(-COMPARED_BYTES);
          quietSinceMs = undefined;
          yield block;
          continue;
        }
        if (stopped.aborted) return;
        const isReplaced = statSync(path, { throwIfNoEntry: false })?.ino !== ino;
        quietSinceMs = isReplaced ? (quietSinceMs ?? performance.now()) : undefined;
        if (quietSinceMs !== undefined && performance.now() - quietSinceMs > ROTATED_GRACE_MS) return;
        yield NOTHING_NEW;
        await sleep(pollMs, undefined, { signal: stopped }).catch(() => {});
      }
    } finally {
      await file.close();
    }
  }
}

/** Undefined if the file was truncated: `last` is no longer before `offset`, even if it has grown past that since. */
async function blockAfter(last: Buffer, file: FileHandle, offset: number): Promise<Buffer | undefined> {
  const size = last.length + BLOCK_BYTES;
  const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(size), 0, size, offset - last.length);
  const isThere = bytesRead >= last.length && buffer.subarray(0, last.length).equals(last);
  return isThere ? buffer.subarray(last.length, bytesRead) : undefined;
}

async function* utf8(blocks: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  const begin = await firstBytes(blocks, 2);
  const whole = chained(begin, blocks);
  const [encoding] = Object.entries(UTF_16_MARKS).find(([, mark]) => begin.indexOf(mark) === 0) ?? [];
  if (encoding === undefined) return yield* whole;
  const decoder = new TextDecoder(encoding as "utf-16le");
  for await (const block of whole) yield Buffer.from(decoder.decode(block, { stream: true }));
  yield Buffer.from(decoder.decode());
}

/** Returns fewer if there are no more yet. */
async function firstBytes(blocks: AsyncGenerator<Buffer>, count: number): Promise<Buffer> {
  let begin: Buffer = Buffer.alloc(0);
  while (begin.length < count) {
    const { value, done } = await blocks.next();
    if (done || value.length === 0) break;
    begin = Buffer.concat([begin, value]);
  }
  return begin;
}

async function* chained(begin: Buffer, rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  if (begin.length > 0) yield begin;
  yield* rest;
}

/** Joins concatenated gzip members. A truncated one is an error, after everything readable was yielded. */
async function* gunzipped(packed: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ chunkSize: BLOCK_BYTES });
  // Also forwards ends and errors to `gunzip`.
  pipeline(Readable.from(packed), gunzip, () => {});
  yield* gunzip as AsyncIterable<Buffer>;
}

/**
 * Record batches, as a broker stores and sends them: the format of Kafka 0.11 and later ("magic 2").
 *
 * The client's own reader stops the whole topic at batches that Java's client compresses with Snappy, and decompresses
 * without a bound. So batches are read here.
 */
import { MessageBody } from "../message-content.ts";
import { ByteCursor } from "./byte-cursor.ts";
import { decompress } from "./decompress.ts";

export interface KafkaRecord {
  readonly offset: number;
  readonly value: MessageBody | null;
  readonly headers: ContentHeaders;
}

/** All other headers are ignored. */
interface ContentHeaders {
  contentType?: string;
  contentEncoding?: string;
}

/** A batch's header, known before it is decompressed. */
export interface PackedBatch {
  readonly firstOffset: number;
  /** Where the next batch begins. Compaction may have removed records at the end of this one. */
  readonly nextOffset: number;
  readonly producerId: number;
  readonly isTransactional: boolean;
  /** Marks the end of a transaction, and has no record for clients. */
  readonly isControl: boolean;
  readonly compression: number;
  readonly recordCount: number;
  readonly data: Buffer;
}

/** The first offset, and the length of everything after these bytes. */
const HEAD_BYTES = 12;
const MAGIC = 2;
const COMPRESSION_BITS = 0b111;
const TRANSACTIONAL_BIT = 0b1_0000;
const CONTROL_BIT = 0b10_0000;

/** Ignores a truncated last batch: the broker cuts it off when the response is full. Throws if the format is older. */
export function packedBatches(bytes: Buffer): PackedBatch[] {
  const batches: PackedBatch[] = [];
  const cursor = new ByteCursor(bytes);
  while (cursor.remaining >= HEAD_BYTES) {
    const firstOffset = cursor.int64();
    const length = cursor.int32();
    if (cursor.remaining < length) break;
    batches.push(packedBatch(firstOffset, cursor.take(length)));
  }
  return batches;
}

function packedBatch(firstOffset: number, bytes: Buffer): PackedBatch {
  const cursor = new ByteCursor(bytes);
  cursor.skip(4);
  const magic = cursor.int8();
  if (magic !== MAGIC)
    throw new Error(`offset ${firstOffset} has the message format ${magic} of Kafka before 0.11: not supported`);
  cursor.skip(4);
  const attributes = cursor.int16();
  const lastOffsetDelta = cursor.int32();
  cursor.skip(16);
  const producerId = cursor.int64();
  cursor.skip(6);
  const recordCount = cursor.int32();
  return {
    ...{ firstOffset, nextOffset: firstOffset + lastOffsetDelta + 1, producerId, recordCount },
    isTransactional: (attributes & TRANSACTIONAL_BIT) !== 0,
    isControl: (attributes & CONTROL_BIT) !== 0,
    compression: attributes & COMPRESSION_BITS,
    data: cursor.take(cursor.remaining),
  };
}

/** Throws if the data are damaged or expand too much. */
export async function recordsOf({ firstOffset, compression, recordCount, data }: PackedBatch): Promise<KafkaRecord[]> {
  const cursor = new ByteCursor(await decompress(compression, data));
  const readHeadersTo = headerReader(cursor);
  const records: KafkaRecord[] = [];
  for (let i = 0; i < recordCount; i++) {
    const end = cursor.varint() + cursor.at;
    cursor.skip(1);
    cursor.skipVarint();
    const offset = firstOffset + cursor.varint();
    cursor.skipSized();
    const size = cursor.varint();
    const start = cursor.at;
    if (size !== -1) cursor.skip(size);
    const value = size === -1 ? null : new MessageBody(cursor.bytes, start, cursor.at);
    records.push({ offset, value, headers: readHeadersTo(end) });
  }
  return records;
}

/** Reads the headers that end at `end`. Most records of a batch have the same ones, so these are parsed once. */
function headerReader(cursor: ByteCursor): (end: number) => ContentHeaders {
  let last: ContentHeaders = {};
  let [lastStart, lastEnd] = [0, -1];
  return (end) => {
    const start = cursor.at;
    if (cursor.isRepeated(lastStart, lastEnd, end)) cursor.skip(end - start);
    else last = readHeaders(cursor);
    lastStart = start;
    lastEnd = cursor.at;
    return last;
  };
}

function readHeaders(cursor: ByteCursor): ContentHeaders {
  const headers: ContentHeaders = {};
  for (let left = cursor.varint(); left > 0; left--) {
    const name = cursor.takeSized()?.toString().toLowerCase();
    const value = cursor.takeSized()?.toString();
    if (value === undefined) continue;
    if (name === "content-type") headers.contentType ??= value;
    else if (name === "content-encoding") headers.contentEncoding ??= value;
  }
  return headers;
}

/** True for the batch that ends an aborted transaction of its producer. Compaction may leave an empty one. */
export function isAbortMarker({ isControl, recordCount, data }: PackedBatch): boolean {
  if (!isControl || recordCount === 0) return false;
  const cursor = new ByteCursor(data);
  cursor.varint();
  cursor.skip(1);
  cursor.skipVarint();
  cursor.varint();
  // Version and type: type 0 is an abort, 1 a commit.
  return cursor.takeSized()?.readInt16BE(2) === 0;
}

/**
 * Batches of records, as a broker stores them and sends them: the format of Kafka 0.11 and later ("magic 2").
 *
 * The client's own reader stops the whole topic at what Java's client compresses with Snappy, and unpacks without a
 * bound; so batches are read here.
 */
import { ByteCursor } from "./byte-cursor.ts";
import { decompress } from "./decompress.ts";

export interface KafkaRecord {
  readonly offset: number;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
}

interface RecordHeader {
  readonly name: string;
  readonly value: Buffer | null;
}

/** What is known of a batch before it is unpacked. */
export interface PackedBatch {
  readonly firstOffset: number;
  /** Where the next batch begins, whatever this one still holds: compaction takes records out. */
  readonly nextOffset: number;
  readonly producerId: number;
  readonly isTransactional: boolean;
  /** For clients, no record: the end of a transaction. */
  readonly isControl: boolean;
  readonly compression: number;
  readonly recordCount: number;
  readonly data: Buffer;
}

/** Of the first offset and of the length behind it, which counts what follows it. */
const HEAD_BYTES = 12;
const MAGIC = 2;
const COMPRESSION_BITS = 0b111;
const TRANSACTIONAL_BIT = 0b1_0000;
const CONTROL_BIT = 0b10_0000;

/** The broker cuts the last one off wherever a response is full: that is left out. Throws if the format is older. */
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
    throw new Error(`offset ${firstOffset} has the message format ${magic} of Kafka before 0.11, which is not read`);
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

/** Throws if the data are damaged, or unpack to too much. */
export async function recordsOf({ firstOffset, compression, recordCount, data }: PackedBatch): Promise<KafkaRecord[]> {
  const cursor = new ByteCursor(await decompress(compression, data));
  const records: KafkaRecord[] = [];
  for (let i = 0; i < recordCount; i++) records.push(readRecord(firstOffset, cursor));
  return records;
}

const NO_HEADERS: readonly RecordHeader[] = [];

function readRecord(firstOffset: number, cursor: ByteCursor): KafkaRecord {
  cursor.varint();
  cursor.skip(1);
  cursor.skipVarint();
  const offset = firstOffset + cursor.varint();
  cursor.takeSized();
  const value = cursor.takeSized();
  const headerCount = cursor.varint();
  if (headerCount === 0) return { offset, value, headers: NO_HEADERS };
  const headers: RecordHeader[] = [];
  for (let i = 0; i < headerCount; i++) {
    const name = cursor.takeSized()?.toString() ?? "";
    headers.push({ name, value: cursor.takeSized() });
  }
  return { offset, value, headers };
}

/** The batch that ends an aborted transaction of its producer. */
export function isAbortMarker({ isControl, data }: PackedBatch): boolean {
  if (!isControl) return false;
  const cursor = new ByteCursor(data);
  cursor.varint();
  cursor.skip(1);
  cursor.skipVarint();
  cursor.varint();
  // A version and a type: 0 is an abort, 1 a commit.
  return cursor.takeSized()?.readInt16BE(2) === 0;
}

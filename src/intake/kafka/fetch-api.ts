/**
 * The fetch call of Kafka's protocol: the client's request, and our own reader of the answer (see record-batch.ts).
 * Returns only what transactions have committed.
 */
import {
  type Connection,
  createAPI,
  fetchV13,
  fetchV14,
  fetchV15,
  fetchV16,
  fetchV17,
  type Reader,
} from "@platformatic/kafka";
import { ByteCursor } from "./byte-cursor.ts";
import { isAbortMarker, type PackedBatch, packedBatches } from "./record-batch.ts";

export interface FetchedPartition {
  readonly partition: number;
  /** 0, or one of the protocol's error codes. */
  readonly errorCode: number;
  readonly highWatermark: number;
  /** Ordered by offset. A batch that must be skipped has no records, and is listed for its nextOffset. */
  readonly batches: readonly PackedBatch[];
}

interface WantedPartition {
  readonly partition: number;
  readonly offset: number;
}

export type Fetch = (
  connection: Connection,
  topicId: string,
  wanted: readonly WantedPartition[],
) => Promise<FetchedPartition[]>;

const FETCH_KEY = 1;
/** 13 is the first version with topic ids, and exists since Kafka 3.1. */
const VERSIONS = { 13: fetchV13, 14: fetchV14, 15: fetchV15, 16: fetchV16, 17: fetchV17 };
/** The broker answers at once if it has any data. */
const MAX_WAIT_MS = 500;
const MAX_BYTES = 4 * 1024 * 1024;
const PARTITION_MAX_BYTES = 1024 * 1024;
const READ_COMMITTED = 1;

/** Throws if the broker has no version in common. */
export function fetchOf(apis: readonly { name: string; minVersion: number; maxVersion: number }[]): Fetch {
  const { minVersion = 0, maxVersion = 0 } = apis.find(({ name }) => name === "Fetch") ?? {};
  const version = Object.keys(VERSIONS)
    .map(Number)
    .findLast((known) => known >= minVersion && known <= maxVersion);
  if (version === undefined)
    throw new Error(
      `the broker supports versions ${minVersion} to ${maxVersion} of Fetch: Kafka 3.1 is the oldest that works`,
    );
  const { createRequest } = VERSIONS[version as keyof typeof VERSIONS];
  const parse = (_correlationId: number, _key: number, _version: number, reader: Reader) =>
    readFetched(reader.buffer.subarray(reader.position).buffer);
  const api = createAPI(FETCH_KEY, version, createRequest, parse);
  return (connection, topicId, wanted) => {
    const partitions = wanted.map(({ partition, offset }) => ({
      ...{ partition, fetchOffset: BigInt(offset), partitionMaxBytes: PARTITION_MAX_BYTES },
      ...{ currentLeaderEpoch: -1, lastFetchedEpoch: -1 },
    }));
    const topics = [{ topicId, partitions }];
    return api.async(connection, MAX_WAIT_MS, 1, MAX_BYTES, READ_COMMITTED, 0, -1, topics, [], "");
  };
}

/** Throws if the call was refused as a whole. */
function readFetched(bytes: Buffer): FetchedPartition[] {
  const cursor = new ByteCursor(bytes);
  cursor.skip(4);
  const errorCode = cursor.int16();
  if (errorCode !== 0) throw new Error(`the broker refused the fetch, with error ${errorCode}`);
  cursor.skip(4);
  const fetched: FetchedPartition[] = [];
  for (let topics = cursor.unsignedVarint() - 1; topics > 0; topics--) {
    // The topic's id: only one was requested.
    cursor.skip(16);
    for (let left = cursor.unsignedVarint() - 1; left > 0; left--) fetched.push(readPartition(cursor));
    cursor.skipTaggedFields();
  }
  return fetched;
}

interface AbortedTransaction {
  readonly producerId: number;
  readonly firstOffset: number;
}

function readPartition(cursor: ByteCursor): FetchedPartition {
  const partition = cursor.int32();
  const errorCode = cursor.int16();
  const highWatermark = cursor.int64();
  cursor.skip(16);
  const aborted: AbortedTransaction[] = [];
  for (let left = cursor.unsignedVarint() - 1; left > 0; left--) {
    aborted.push({ producerId: cursor.int64(), firstOffset: cursor.int64() });
    cursor.skipTaggedFields();
  }
  cursor.skip(4);
  const size = cursor.unsignedVarint() - 1;
  const batches = size > 0 ? withoutAborted(packedBatches(cursor.take(size)), aborted) : [];
  cursor.skipTaggedFields();
  return { partition, errorCode, highWatermark, batches };
}

/** A producer's transaction is aborted from its first offset up to its marker, by the protocol. */
function withoutAborted(batches: readonly PackedBatch[], aborted: readonly AbortedTransaction[]): PackedBatch[] {
  const waiting = aborted.toSorted((a, b) => a.firstOffset - b.firstOffset);
  const aborting = new Set<number>();
  return batches.map((batch) => {
    while (waiting.length > 0 && waiting[0]!.firstOffset < batch.nextOffset) aborting.add(waiting.shift()!.producerId);
    const { producerId, isTransactional, isControl } = batch;
    if (isAbortMarker(batch)) aborting.delete(producerId);
    const isToBeRead = !isControl && !(isTransactional && aborting.has(producerId));
    return isToBeRead ? batch : { ...batch, recordCount: 0 };
  });
}

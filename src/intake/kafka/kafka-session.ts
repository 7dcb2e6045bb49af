/**
 * A session with Kafka: one member of a consumer group, and the partitions of one topic that the group assigns to it.
 *
 * Invariants: an offset is committed only once all messages below it are settled. Nothing more is fetched while
 * messages are held or enough are in flight, but heartbeats to the group continue. A partition that is reassigned is
 * dropped: the new member reads its uncommitted messages again, and their events count once by their ids.
 */
import { type Connection, ConnectionPool, Consumer, ListOffsetTimestamps } from "@platformatic/kafka";
import { waitAtMost } from "../../runtime/clock.ts";
import type { KafkaPlace } from "../../settings/broker-url.ts";
import { type Driver, LAG_REFRESH_MS, type Lag, type Session, type SessionOptions } from "../broker-source.ts";
import { Deliveries, type Delivery } from "../deliveries.ts";
import { MessageBody } from "../message-content.ts";
import type { MessageEnd } from "../message-intake.ts";
import { type Fetch, type FetchedPartition, fetchOf } from "./fetch-api.ts";
import { assignPartitions, PartitionFlow } from "./kafka-partitions.ts";
import { type KafkaRecord, type PackedBatch, recordsOf } from "./record-batch.ts";

const CLIENT_ID = "hourglass";
const CONNECT_TIMEOUT_MS = 10_000;
/** A member that is silent for this long is removed, and its partitions go to others. */
const SESSION_TIMEOUT_MS = 10_000;
const HEARTBEAT_MS = 1_000;
/** How long the other members wait for one that does not rejoin. */
const REBALANCE_TIMEOUT_MS = 15_000;
/** Longer than a rebalance, because the answer to a join may take that long. */
const REQUEST_TIMEOUT_MS = 20_000;
const CLOSE_GRACE_MS = 2_000;
/** Bytes of messages. Many small ones share a commit; a few large ones are enough to keep it busy. */
const IN_FLIGHT_MAX_BYTES = 16 * 1_048_576;
/** Between two commits, and between two checks for room. */
const TICK_MS = 200;
/** UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, epochs and UNKNOWN_TOPIC_ID. */
const OTHER_LEADER_CODES = new Set([3, 5, 6, 74, 75, 76, 100]);
const OFFSET_OUT_OF_RANGE = 1;

export function kafkaDriver(place: KafkaPlace): Driver {
  let last: KafkaSession | undefined;
  return (options) => {
    last = new KafkaSession(place, options, last?.memberId ?? null);
    return last;
  };
}

type GroupConsumer = Consumer<Buffer, Buffer, Buffer, Buffer>;

class KafkaSession implements Session {
  readonly deliveries: Deliveries;
  readonly openTimeoutMs = 2 * REQUEST_TIMEOUT_MS;
  readonly #options: SessionOptions;
  readonly #consumer: GroupConsumer;
  /** Separate from the group's connections, whose heartbeats would wait behind a fetch. */
  readonly #connections: ConnectionPool;
  #partitions = new Map<number, PartitionFlow>();
  #fetch: Fetch | undefined;
  #partitionCount = 0;
  #memberId: string | null = null;
  #assigning: Promise<void> = Promise.resolve();
  #committing: Promise<void> | undefined;
  #ticking: Timer | undefined;
  #lagsRefreshedMs = 0;
  /** Brokers with a fetch in flight. */
  readonly #fetchingFrom = new Set<number>();
  #isDraining = false;

  constructor(place: KafkaPlace, options: SessionOptions, memberId: string | null) {
    this.#options = options;
    const connection = connectionOptions(place, options.ca);
    this.#consumer = new Consumer({
      ...connection,
      clientId: CLIENT_ID,
      groupId: options.group,
      bootstrapBrokers: [...place.hosts],
      sessionTimeout: SESSION_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_MS,
      rebalanceTimeout: REBALANCE_TIMEOUT_MS,
      // Any failure ends the session, and the next one starts after a pause.
      retries: 0,
      autocommit: false,
      partitionAssigner: assignPartitions,
    });
    this.#consumer.memberId = memberId;
    this.#connections = new ConnectionPool(CLIENT_ID, connection);
    for (const pool of [this.#consumer.connections, this.#connections]) {
      // An error event without a listener would end the process; the call in question fails anyway.
      pool.on("connecting", ({ connection: opened }: { connection: Connection }) => opened.on("error", () => {}));
    }
    this.deliveries = new Deliveries(options);
    this.#consumer.on("error", (error: unknown) => this.deliveries.end(error));
    this.#consumer.on("consumer:heartbeat:error", ({ error }) => this.deliveries.end(error));
    this.#consumer.on("consumer:group:join", () => this.#reassign());
  }

  /**
   * Null if the group does not know this member: not joined yet, left, or refused. If the broker did not confirm that
   * it left, the next session joins under this id, so the group need not wait for a timeout.
   */
  get memberId(): string | null {
    return this.#consumer.memberId;
  }

  get lags(): readonly Lag[] {
    return Array.from(this.#partitions.values(), ({ partition, lag }) => ({ partition, lag }));
  }

  async open(): Promise<void> {
    const { queue } = this.#options;
    this.#fetch = fetchOf(await this.#consumer.listApis());
    this.#consumer.topics.track(queue);
    this.#partitionCount = (await this.#topic()).partitionsCount;
    await this.#consumer.joinGroup({});
    await this.#assigning;
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
    this.#pump();
  }

  async #topic() {
    const { queue } = this.#options;
    const metadata = await this.#consumer.metadata({ topics: [queue] });
    return { ...metadata.topics.get(queue)!, brokers: metadata.brokers };
  }

  /** Called after each rebalance. */
  #reassign(): void {
    this.#assigning = this.#assigning
      .then(() => this.#assign())
      .then(() => this.#pump())
      .catch((error) => this.deliveries.end(error));
  }

  async #assign(): Promise<void> {
    const { queue } = this.#options;
    const { memberId, assignments } = this.#consumer;
    const assigned = assignments?.find(({ topic }) => topic === queue)?.partitions ?? [];
    // A member that was removed has a new id, and others may have continued where it was.
    const isNewMember = memberId !== this.#memberId;
    this.#memberId = memberId;
    for (const flow of this.#partitions.values()) {
      if (isNewMember || !assigned.includes(flow.partition)) this.#drop(flow);
    }
    const added = assigned.filter((partition) => !this.#partitions.has(partition));
    if (added.length === 0) return;
    for (const flow of await this.#openFlows(added)) this.#partitions.set(flow.partition, flow);
  }

  #drop(flow: PartitionFlow): void {
    flow.isDropped = true;
    this.#partitions.delete(flow.partition);
  }

  async #openFlows(partitions: number[]): Promise<PartitionFlow[]> {
    const { queue, log } = this.#options;
    const consumer = this.#consumer;
    const listed = { topics: [queue], partitions: { [queue]: partitions } };
    const [committed, earliest, latest] = await Promise.all([
      consumer.listCommittedOffsets({ topics: [{ topic: queue, partitions }] }),
      consumer.listOffsets({ ...listed, timestamp: ListOffsetTimestamps.EARLIEST }),
      consumer.listOffsets({ ...listed, timestamp: ListOffsetTimestamps.LATEST }),
    ]);
    return partitions.map((partition) => {
      const offsetIn = (offsets: Map<string, bigint[]>) => Number(offsets.get(queue)?.[partition] ?? -1);
      const [from, first, end] = [offsetIn(committed), offsetIn(earliest), offsetIn(latest)];
      if (from >= 0 && from < first)
        log.error({ partition, deleted: first - from }, "the broker has deleted messages that were not consumed yet");
      if (from > end)
        log.error({ partition, committed: from, end }, "the topic was recreated: reading it from the beginning");
      return new PartitionFlow(partition, from > end ? first : Math.max(from, first), end);
    });
  }

  #tick(): void {
    void this.#commit();
    this.#pump();
    if (performance.now() - this.#lagsRefreshedMs > LAG_REFRESH_MS) void this.#refreshLags();
  }

  /**
   * Fetches from every broker that leads a partition in demand and has no fetch in flight. A member without partitions
   * also looks for added ones, since it may be the one that assigns them.
   */
  #pump(): void {
    if (this.#isEnding || this.deliveries.hold.reason !== undefined || !this.#hasRoom()) return;
    this.#fetchFromLeaders().catch((error) => this.deliveries.end(error));
  }

  async #fetchFromLeaders(): Promise<void> {
    const topic = await this.#topic();
    if (topic.partitionsCount !== this.#partitionCount)
      throw new Error(`the topic has ${topic.partitionsCount} partitions now: they are reassigned`);
    const idle = Array.from(this.#partitions.values()).filter((flow) => !flow.isFetching && !flow.isFarAhead);
    const byLeader = Map.groupBy(idle, ({ partition }) => topic.partitions[partition]!.leader);
    for (const [leader, flows] of byLeader) {
      if (this.#fetchingFrom.has(leader)) continue;
      const broker = topic.brokers.get(leader);
      // The partition has no leader at the moment: the next metadata will name one.
      if (broker === undefined) this.#consumer.clearMetadata();
      else void this.#fetchFrom(leader, broker, topic.id, flows);
    }
  }

  /** Never rejects. */
  async #fetchFrom(
    leader: number,
    broker: { host: string; port: number },
    topicId: string,
    flows: readonly PartitionFlow[],
  ): Promise<void> {
    this.#fetchingFrom.add(leader);
    for (const flow of flows) flow.isFetching = true;
    try {
      const connection = await this.#connections.get(broker);
      const wanted = flows.map(({ partition, next }) => ({ partition, offset: next }));
      const fetched = await this.#fetch!(connection, topicId, wanted);
      this.#lagsRefreshedMs = performance.now();
      for (const one of fetched) {
        const flow = flows.find(({ partition }) => partition === one.partition);
        if (flow !== undefined) await this.#takeFetched(flow, one);
      }
    } catch (error) {
      this.deliveries.end(error);
    }
    for (const flow of flows) flow.isFetching = false;
    this.#fetchingFrom.delete(leader);
    this.#pump();
  }

  async #takeFetched(flow: PartitionFlow, { errorCode, highWatermark, batches }: FetchedPartition): Promise<void> {
    if (OTHER_LEADER_CODES.has(errorCode)) {
      this.#consumer.clearMetadata();
      return;
    }
    if (errorCode !== 0) {
      const what = errorCode === OFFSET_OUT_OF_RANGE ? "its offset no longer exists" : `error ${errorCode}`;
      throw new Error(`partition ${flow.partition} could not be read: ${what}`);
    }
    flow.highWatermark = highWatermark;
    for (const batch of batches) {
      if (flow.isDropped || this.#isEnding) return;
      await this.#takeBatch(flow, batch);
    }
  }

  get #isEnding(): boolean {
    return this.#isDraining || this.deliveries.isOver;
  }

  async #takeBatch(flow: PartitionFlow, batch: PackedBatch): Promise<void> {
    const { queue } = this.#options;
    let deliveries: Delivery[];
    try {
      const records = batch.recordCount === 0 ? [] : await recordsOf(batch);
      // A batch is sent whole, even if it was requested from its middle.
      const wanted = records.filter(({ offset }) => offset >= flow.next);
      for (const { offset } of wanted) flow.open(offset);
      deliveries = wanted.map((record) => new RecordDelivery(queue, flow, record));
    } catch (error) {
      deliveries = [this.#unreadable(flow, batch, error)];
      flow.open(batch.firstOffset);
    }
    flow.advance(batch.nextOffset);
    for (const delivery of deliveries) {
      if (!this.#hasRoom()) await this.deliveries.until(() => this.#hasRoom());
      if (flow.isDropped || this.#isEnding) return;
      this.deliveries.take(delivery);
    }
  }

  #hasRoom(): boolean {
    const { inFlight, bytesInFlight } = this.deliveries;
    return inFlight < this.#options.prefetch && bytesInFlight < IN_FLIGHT_MAX_BYTES;
  }

  /** Sets the whole batch aside, because its messages cannot be separated. */
  #unreadable(flow: PartitionFlow, { firstOffset, nextOffset, data }: PackedBatch, error: unknown): Delivery {
    const { queue } = this.#options;
    return {
      id: `${queue}/${flow.partition}/${firstOffset}-${nextOffset - 1}`,
      contentType: undefined,
      contentEncoding: undefined,
      body: new MessageBody(data),
      fault: `a batch of messages could not be unpacked: ${error}`,
      settle: (end) => settleAt(flow, firstOffset, end),
    };
  }

  /** Never rejects. One commit at a time; the next one takes what has become due meanwhile. */
  #commit(): Promise<void> {
    this.#committing ??= this.#commitDue().finally(() => {
      this.#committing = undefined;
    });
    return this.#committing;
  }

  async #commitDue(): Promise<void> {
    const due = Array.from(this.#partitions.values()).flatMap((flow) =>
      flow.due === undefined ? [] : [{ flow, offset: flow.due }],
    );
    if (due.length === 0 || this.deliveries.isOver) return;
    const offsets = due.map(({ flow: { partition }, offset }) => ({
      ...{ topic: this.#options.queue, partition, offset: BigInt(offset), leaderEpoch: -1 },
    }));
    try {
      await this.#consumer.commit({ offsets });
      for (const { flow, offset } of due) flow.noteCommitted(offset);
    } catch (error) {
      // During a rebalance. A heartbeat rejoins the group, and a later commit succeeds.
      if (!isRebalance(error)) this.deliveries.end(error);
    }
  }

  /** Never rejects. */
  async #refreshLags(): Promise<void> {
    this.#lagsRefreshedMs = performance.now();
    const { queue } = this.#options;
    const partitions = [...this.#partitions.keys()];
    if (partitions.length === 0) return;
    try {
      const latest = await this.#consumer.listOffsets({
        topics: [queue],
        partitions: { [queue]: partitions },
      });
      for (const flow of this.#partitions.values()) {
        const end = latest.get(queue)?.[flow.partition];
        if (end !== undefined) flow.highWatermark = Number(end);
      }
    } catch (error) {
      this.deliveries.end(error);
    }
  }

  async drain(): Promise<void> {
    this.#isDraining = true;
    this.deliveries.hold.release();
    await this.deliveries.drain();
    await this.#committing;
    await this.#commit();
  }

  /** Leaves the group, so that the others need not wait for this member's timeout. */
  async close(): Promise<void> {
    clearInterval(this.#ticking);
    const left = new Promise<void>((resolve) => this.#consumer.leaveGroup(() => resolve()));
    await waitAtMost(CLOSE_GRACE_MS, left);
    await waitAtMost(CLOSE_GRACE_MS, Promise.all([this.#connections.close(), this.#consumer.connections.close()]));
  }
}

/** A class, because at 100,000 a second a closure for each record would cost too much. */
class RecordDelivery implements Delivery {
  readonly id: string;
  readonly #flow: PartitionFlow;
  readonly #record: KafkaRecord;

  constructor(topic: string, flow: PartitionFlow, record: KafkaRecord) {
    this.id = `${topic}/${flow.partition}/${record.offset}`;
    this.#flow = flow;
    this.#record = record;
  }

  get contentType(): string | undefined {
    return this.#record.headers.contentType;
  }

  get contentEncoding(): string | undefined {
    return this.#record.headers.contentEncoding;
  }

  get body(): MessageBody | null {
    return this.#record.value;
  }

  settle(end: MessageEnd): void {
    settleAt(this.#flow, this.#record.offset, end);
  }
}

function settleAt(flow: PartitionFlow, offset: number, end: MessageEnd): void {
  if (end !== "left") flow.settle(offset);
}

function connectionOptions({ isTls, login }: KafkaPlace, ca: string | undefined) {
  return {
    connectTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    ...(isTls && { tls: ca === undefined ? {} : { ca: [ca] } }),
    ...(login !== undefined && { sasl: login }),
  };
}

function isRebalance(error: unknown): boolean {
  const { findBy } = error as { findBy?: (property: string, value: unknown) => unknown };
  return findBy?.call(error, "needsRejoin", true) != null;
}

/**
 * One way to break each promise: an edit small enough to be a slip. Those of a store are made in the in-memory store,
 * at the counterpart of its script or transaction.
 *
 * Invariant: the text that an edit replaces occurs exactly once in its file, so that no edit silently changes nothing.
 */
import type { Edit } from "../../chaos/faults/mutations.ts";

export interface SimulatedMutation {
  readonly name: string;
  readonly promise: string;
  readonly edits: readonly Edit[];
}

const SENDER = "src/pipeline/commit/batch-sender.ts";
const IDENTITY = "src/pipeline/commit/writer-identity.ts";
const FLUSHER = "src/pipeline/flush/flusher.ts";
const ADOPTION = "src/pipeline/upkeep/journal-adoption.ts";
const DATA_LOSS = "src/pipeline/upkeep/data-loss.ts";
const HOUR_READER = "src/pipeline/read/hour-reader.ts";
const HYDRATOR = "src/pipeline/commit/hydrator.ts";
const ID_RESTORATION = "src/pipeline/upkeep/id-restoration.ts";
const HOT = "test/simulation/stores/hot/data.ts";
const HOT_CLIENT = "test/simulation/stores/hot/client.ts";
const COLD = "test/simulation/stores/cold/data.ts";

function inOne(name: string, promise: string, file: string, find: string, replace: string): SimulatedMutation {
  return { name, promise, edits: [{ file, find, replace }] };
}

const OF_COMMITS: readonly SimulatedMutation[] = [
  inOne(
    "ack-before-commit",
    "204 only once the hot store has committed",
    SENDER,
    "const result = await this.#answer(sending);",
    "sending.opened?.resolve(undefined); const result = await this.#answer(sending);",
  ),
  inOne(
    "503-for-what-was-sent",
    "503 only for what no attempt can have applied",
    SENDER,
    "if (sending === undefined || sending.isInFlight || mustBeStored(sending)) return;",
    "if (sending?.opened === undefined) return;",
  ),
  inOne(
    "doubt-under-another-seq",
    "a batch in doubt is sent again under its number",
    SENDER,
    "    this.#startTimeout(sending);\n  }\n\n  /** Refuses",
    "    this.#startTimeout(sending);\n    this.#seq += 1;\n  }\n\n  /** Refuses",
  ),
  inOne(
    "doubt-taken-for-unsent",
    "no answer is not 'not applied'",
    SENDER,
    "return !(error instanceof HotUnavailableError) || error.mayHaveApplied;",
    "return !(error instanceof HotUnavailableError);",
  ),
  inOne(
    "unknown-not-counted",
    "an unknown outcome is in the ledger",
    SENDER,
    "    this.#options.ledger.unknown += sending.batch.eventCount;\n",
    "",
  ),
  inOne(
    "fate-off-by-one",
    "what the cold store has of a batch in doubt is stored",
    IDENTITY,
    "return seq <= sealed.watermark",
    "return seq < sealed.watermark",
  ),
  inOne(
    "orphans-forgotten",
    "what a hot store lost is committed again from the ring",
    IDENTITY,
    "    this.orphans.unshift(...orphans);\n",
    "",
  ),
  inOne(
    "orphans-of-stored",
    "only what no store has is committed again",
    IDENTITY,
    "books.unflushed.filter(({ seq }) => seq > sealed.watermark)",
    "books.unflushed.filter(() => true)",
  ),
];

const OF_FLUSHES: readonly SimulatedMutation[] = [
  inOne(
    "trim-before-commit",
    "the journal is trimmed only after the cold store's COMMIT",
    FLUSHER,
    "await cold.flush(progress.writer, batches, progress.epoch);",
    "await hot.trimJournal(progress.writer, last.seq); await cold.flush(progress.writer, batches, progress.epoch);",
  ),
  inOne(
    "released-before-commit",
    "the ring is released only after the cold store's COMMIT",
    FLUSHER,
    "      await cold.flush(progress.writer, batches, progress.epoch);\n",
    "      this.#ring.releaseThrough(last.seq);\n" +
      "      await cold.flush(progress.writer, batches, progress.epoch);\n",
  ),
  inOne(
    "full-ring-drops",
    "what does not fit into the ring is read back from the journal",
    FLUSHER,
    "if (!this.#ring.push(batch)) this.#spill(progress, batch);",
    "this.#ring.push(batch);",
  ),
  inOne(
    "watermark-outside-transaction",
    "the watermark moves in the transaction of the rows",
    COLD,
    "    record.seq = last.seq;\n",
    "    if (this.version % 4 !== 0) record.seq = last.seq;\n",
  ),
  inOne(
    "watermark-ignored",
    "a flush that is sent again stores nothing twice",
    COLD,
    "batches.filter((batch) => batch.seq > seq)",
    "batches.filter((batch) => batch.seq >= seq)",
  ),
  inOne(
    "seal-ignored",
    "a sealed writer stores nothing new",
    COLD,
    "    if (isSealed) throw",
    "    if (isSealed && seq < 0) throw",
  ),
];

const OF_ADOPTIONS: readonly SimulatedMutation[] = [
  inOne(
    "adoption-without-sealing",
    "a writer is sealed before its journal is removed",
    ADOPTION,
    "  for (const name of names) await cold.seal(name);\n",
    "",
  ),
  inOne(
    "adoption-without-fence",
    "only a fenced writer's journal is adopted",
    ADOPTION,
    "if (!(await hot.fence(writer))) return;",
    "if (writer === '') return;",
  ),
  inOne(
    "journal-removed-unflushed",
    "a journal is removed only when all of it is in the cold store",
    ADOPTION,
    "const { names, eventCount, throughSeq } = await drainJournal(options, writer);",
    "const { names, eventCount, throughSeq } = { names: [writer], eventCount: 0, throughSeq: 0 };",
  ),
  inOne(
    "hours-taken-for-empty",
    "hours that the cold store knows are not taken for empty",
    DATA_LOSS,
    "newestHour === undefined ? 0 : newestHour + HOUR_MS",
    "newestHour === undefined ? 0 : newestHour",
  ),
];

const OF_THE_HOT_STORE: readonly SimulatedMutation[] = [
  inOne(
    "no-fencing",
    "a fenced writer commits nothing more",
    HOT,
    '    if (record.isFenced) return { status: "fenced" };\n',
    "",
  ),
  inOne(
    "seq-not-checked",
    "a batch that is sent again is applied once",
    HOT,
    "    if (seq <= record.last) {",
    "    if (seq < 0) {",
  ),
  inOne(
    "lease-without-looking",
    "a lease is renewed only for a writer that may go on",
    HOT,
    'if (record === undefined || record.isFenced || this.meta === undefined) return "lost";',
    'if (record === undefined) return "held";',
  ),
  inOne(
    "loss-not-noticed",
    "a data set that has lost acknowledged batches is set up anew",
    HOT,
    "    if ((record?.last ?? -1) < committedSeq) this.meta = undefined;\n",
    "",
  ),
  inOne(
    "id-not-remembered",
    "an id counts once",
    HOT,
    "else this.#ids.set(name, this.#nowMs() + ID_TTL_MS);",
    "else this.#ids.delete(name);",
  ),
  inOne(
    "ids-set-after-counting",
    "ids are claimed in the step that counts",
    HOT,
    "if ((this.#ids.get(name) ?? 0) > this.#nowMs())",
    "if ((this.#ids.get(name) ?? 0) > this.#nowMs() && this.#ids.get(name)! < this.#nowMs() + ID_TTL_MS - 500)",
  ),
  inOne(
    "sketch-before-journal",
    "users enter a sketch with their events",
    HOT,
    "    const absent = this.#absentGroups(batch, this.meta.freshFrom);\n",
    "    const absent = this.#absentGroups(batch, this.meta.freshFrom);\n" +
      "    for (const { stream, hour, registers } of batch.groups) {\n" +
      "      for (const each of registers) this.hours.get(hourKeyName(stream, hour))?.users.add(each, true);\n" +
      "    }\n",
  ),
  inOne(
    "hour-not-hydrated",
    "an hour is held whole or not at all",
    HOT,
    "if (hour < freshFrom && !this.hours.has(",
    "if (hour < 0 && !this.hours.has(",
  ),
  inOne(
    "hydration-without-mark",
    "no stale picture of an hour is put in place",
    HOT,
    "    if (this.meta.mark !== mark) return false;\n",
    "",
  ),
  inOne(
    "retired-unflushed",
    "an hour is retired only once all of it is flushed",
    HOT,
    "if (through !== undefined && through < seq) return false;",
    "if (through !== undefined && through < 0) return false;",
  ),
  inOne(
    "retired-for-empty",
    "an hour that was retired is absent, not empty",
    HOT,
    "      freshFrom = Math.max(freshFrom, hour + HOUR_MS);\n",
    "",
  ),
];

const OF_READS: readonly SimulatedMutation[] = [
  inOne(
    "stale-cold-read",
    "what the hot store can't tell is said to be incomplete",
    HOUR_READER,
    "      return { ...(await this.#readCold(key)), isDegraded: true };\n    }",
    "      return { ...(await this.#readCold(key)), isDegraded: false };\n    }",
  ),
  inOne(
    "absent-read-as-empty",
    "an hour that the hot store does not hold is read from the cold one",
    HOUR_READER,
    "return { ...(await this.#readCold(key)), isDegraded };",
    "return { ...NO_COUNTS, isDegraded };",
  ),
  inOne(
    "mark-after-reading",
    "the mark is taken before the cold store is read",
    HYDRATOR,
    "    const mark = await hot.retirementMark();\n    const totals = await cold.read(key);\n",
    "    const totals = await cold.read(key);\n    const mark = await hot.retirementMark();\n",
  ),
];

const OF_LOSSES: readonly SimulatedMutation[] = [
  inOne(
    "epoch-without-sealing",
    "writers of earlier epochs are sealed",
    COLD,
    "if (row.shard === shard) row.isSealed = true;",
    "if (row.shard < shard) row.isSealed = true;",
  ),
  inOne(
    "first-flush-in-any-epoch",
    "a writer stores batches in its own epoch only",
    COLD,
    "if (epoch !== undefined && this.epoch(shard) !== epoch)",
    "if (epoch === -1 && this.epoch(shard) !== epoch)",
  ),
  inOne(
    "writers-not-compared",
    "a data set that lacks a writer of the cold store's is set up anew",
    DATA_LOSS,
    "  if (stored.size === 0) return false;\n",
    "  if (stored.size >= 0) return false;\n",
  ),
  inOne(
    "set-back-not-noticed",
    "a data set that counts what the cold store has no longer is set up anew",
    DATA_LOSS,
    "  return Math.max(0, known - total, (own?.events ?? 0) - ofWriter);\n",
    "  return Math.max(0, Math.min(0, known - total), (own?.events ?? 0) - ofWriter);\n",
  ),
  inOne(
    "own-events-not-compared",
    "an instance whose events the cold store has no longer notices that, whatever Redis has lost",
    DATA_LOSS,
    "  return Math.max(0, known - total, (own?.events ?? 0) - ofWriter);\n",
    "  return Math.max(0, known - total, Math.min(0, (own?.events ?? 0) - ofWriter));\n",
  ),
  inOne(
    "ids-of-lost-rows",
    "an id whose row the cold store has no longer counts when it is sent again",
    DATA_LOSS,
    "    if ((await eventsLostByCold(options)) > 0) await hot.forgetIds();\n",
    "",
  ),
  inOne(
    "ids-of-another-history",
    "a data set of another history than the cold store's is set up anew without its ids",
    IDENTITY,
    "    await hot.forgetIds();\n",
    "",
  ),
  inOne(
    "lost-taken-for-persisted",
    "an instance's ledger does not say that its events are persisted which the cold store has no longer",
    IDENTITY,
    "    ledger.persisted += Math.min(0, events);\n",
    "    ledger.handedOver += Math.min(0, events);\n",
  ),
  inOne(
    "later-data-set-not-noticed",
    "an instance notices a data set that was set up since, even if it stores nothing",
    IDENTITY,
    "(await this.#options.adoption.cold.epoch()) === this.#epoch;",
    "(await this.#options.adoption.cold.epoch()) > 0;",
  ),
  inOne(
    "ids-taken-for-known",
    "no event with an id is taken before ids are restored",
    ID_RESTORATION,
    "    this.areKnown = areIdsKnown;\n",
    "    this.areKnown = areIdsKnown || epoch > 0;\n",
  ),
  inOne(
    "left-batches-forgotten",
    "what is left to adopters is kept until it is stored",
    IDENTITY,
    "batches: [...books.unflushed, ...settled],",
    "batches: settled,",
  ),
  inOne(
    "settled-batch-forgotten",
    "a batch that was in doubt is left to adopters like the others",
    IDENTITY,
    "batches: [...books.unflushed, ...settled],",
    "batches: books.unflushed,",
  ),
  inOne(
    "taken-batches-not-sealed",
    "what is committed again is not stored from another journal",
    ADOPTION,
    "await cold.seal(name, takenSeq);",
    "await cold.seal(name, 0);",
  ),
  inOne(
    "epoch-of-a-cut-off-master",
    "a master that accepts no writes begins no epoch",
    DATA_LOSS,
    "    await hot.discard(epoch);\n",
    "",
  ),
  inOne(
    "adoption-without-replica",
    "with replicas awaited, a journal is adopted only with what a replica has",
    HOT_CLIENT,
    "if (this.#options.areReplicasAwaited) await",
    'if (this.#options.areReplicasAwaited && what.startsWith("commit")) await',
  ),
  inOne(
    "waiting-ids-not-refused",
    "a batch with ids that waited for another data set is refused",
    SENDER,
    "    if (this.#mayRepeatIds(sending)) return sending.isOwed ? this.#owe(sending) : this.#options.onUnknownIds();\n",
    "",
  ),
  inOne(
    "owed-forgotten",
    "a batch with ids that was in doubt and lost is sent again",
    SENDER,
    "      if (sending.opened !== undefined && hasIds(sending.batch)) this.#owe(sending);\n      else if",
    "      if",
  ),
  inOne(
    "open-forgotten",
    "a batch with ids whose fate stayed open is settled later",
    SENDER,
    "    const sending = this.#current?.doubt === doubt ? this.#current : this.#open.get(doubt);\n",
    "    const sending = this.#current?.doubt === doubt ? this.#current : undefined;\n    if (!sending) return;\n",
  ),
  inOne(
    "reads-of-a-lost-writer",
    "reads of an instance whose writer was lost say so",
    HOT_CLIENT,
    '      this.#isWriterLost = writer !== "" && (await renew()) === "lost";\n',
    '      if (writer !== "") await renew();\n',
  ),
  inOne(
    "restored-ids-lost",
    "ids are restored again over another connection",
    ID_RESTORATION,
    "if (hot.connections !== connections || !(await",
    "if (!(await",
  ),
  inOne(
    "restoration-lost",
    "a data set that has lost ids which had been restored is set up anew",
    HOT,
    "    if (this.meta?.epoch === idsKnownIn && this.meta?.areIdsKnown === false) this.meta = undefined;\n",
    "",
  ),
  inOne(
    "first-page-of-ids-only",
    "all ids of the last 24 hours are restored",
    ID_RESTORATION,
    "      before = page.next;\n",
    "      before = undefined;\n",
  ),
  inOne(
    "ids-not-stored",
    "a flush stores the ids of its events",
    COLD,
    "if (ids.length > 0) this.#idRows.push",
    "if (ids.length > 1) this.#idRows.push",
  ),
];

export const SIMULATED_MUTATIONS: readonly SimulatedMutation[] = [
  ...OF_COMMITS,
  ...OF_FLUSHES,
  ...OF_ADOPTIONS,
  ...OF_THE_HOT_STORE,
  ...OF_READS,
  ...OF_LOSSES,
];

/**
 * One way to break each promise: an edit small enough to be a slip, and the command that must notice it.
 * Invariant: the text that an edit replaces occurs exactly once in its file, so that no edit silently changes nothing.
 */
export interface Edit {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Mutation {
  readonly name: string;
  readonly promise: string;
  readonly edits: readonly Edit[];
  readonly check: Check;
}

export interface Check {
  /** Arguments to bun, in the folder of the project. */
  readonly args: readonly string[];
  /** Matches the output if the check failed for the expected reason, which it reports. */
  readonly noticed: RegExp;
  /** Matches the output if the check passed and did something. */
  readonly passed: RegExp;
}

function testNamed(file: string, name: string): Check {
  return {
    args: ["test", file, "-t", name],
    noticed: /^\(fail\) .*/m,
    passed: /^ *[1-9]\d* pass$/m,
  };
}

/** So many faults that each kind strikes; an event that does not come is not waited for any longer. */
function faults(mode: "redis" | "embedded", seed: number): Check {
  const options = ["--mode", mode, "--seed", String(seed), "--faults", "30", "--stall-seconds", "12"];
  return {
    args: ["test/chaos/main.ts", "faults", ...options],
    noticed: /^ {2}PROBLEM .*/m,
    passed: /: all held$/m,
  };
}

/** Enough messages in flight at each kill that some are between delivery and commit. */
const QUEUE: Check = {
  args: [
    ...["test/chaos/main.ts", "queue", "--mode", "embedded", "--seed", "1", "--messages", "40000"],
    ...["--kills", "4", "--broker-restarts", "0", "--stall-seconds", "12"],
  ],
  noticed: /^ {2}PROBLEM .*/m,
  passed: /: all held$/m,
};
const COMMIT_SCRIPT = "src/store/redis/scripts/commit.lua";
const FAULTS_REDIS = faults("redis", 1);
const FAULTS_EMBEDDED = faults("embedded", 1);

export const MUTATIONS: readonly Mutation[] = [
  {
    name: "trim-before-commit",
    promise: "the journal is trimmed only after the cold store's COMMIT",
    edits: [
      {
        file: "src/pipeline/flush/flusher.ts",
        find: "await cold.flush(progress.writer, batches, progress.epoch);",
        replace:
          "await hot.trimJournal(progress.writer, last.seq); " +
          "await cold.flush(progress.writer, batches, progress.epoch);",
      },
    ],
    check: FAULTS_REDIS,
  },
  {
    name: "ack-before-commit",
    promise: "204 only once the hot store has committed",
    edits: [
      {
        file: "src/pipeline/commit/batch-sender.ts",
        find: "const result = await this.#answer(sending);",
        replace: "sending.opened?.resolve(undefined); const result = await this.#answer(sending);",
      },
    ],
    check: FAULTS_REDIS,
  },
  {
    name: "watermark-outside-transaction",
    promise: "the watermark moves in the transaction of the rows",
    edits: [
      {
        file: "src/store/mysql/flush/flush.ts",
        find: "await session.run(move, [last.seq, eventCount, id]);",
        replace: 'await session.run("COMMIT"); await session.run(move, [last.seq, eventCount, id]);',
      },
    ],
    check: testNamed(
      "test/contract/cold/mysql/faults.test.ts",
      "a connection that is cut before the answer to COMMIT arrives",
    ),
  },
  {
    name: "no-fencing",
    promise: "a fenced writer commits nothing more",
    edits: [
      {
        file: COMMIT_SCRIPT,
        find: "if state[2] then return {'fenced'} end",
        replace: "",
      },
    ],
    check: testNamed("test/contract/hot/redis/writers.test.ts", "is adopted, and commits nothing when it wakes"),
  },
  {
    name: "seq-not-checked",
    promise: "a batch that is sent again is applied once",
    edits: [{ file: COMMIT_SCRIPT, find: "if seq <= last then", replace: "if false then" }],
    check: testNamed("test/contract/hot/redis/contract.test.ts", "a batch that is sent again is applied once"),
  },
  {
    name: "orphans-forgotten",
    promise: "what a store lost is committed again from the ring",
    edits: [
      {
        file: "src/pipeline/commit/writer-identity.ts",
        find: "this.orphans.unshift(...orphans);",
        replace: "",
      },
    ],
    check: testNamed("test/pipeline/faults/redis-data-loss.test.ts", "emptied with a full ring"),
  },
  {
    name: "hour-not-hydrated",
    promise: "an hour is held whole or not at all",
    edits: [
      {
        file: "src/store/embedded/hot-store.ts",
        find: "if (group.hour < freshFrom && !hours.has(",
        replace: "if (group.hour < 0 && !hours.has(",
      },
    ],
    check: FAULTS_EMBEDDED,
  },
  {
    name: "id-not-remembered",
    promise: "an id counts once",
    edits: [
      {
        file: COMMIT_SCRIPT,
        find: "redis.call('SET', KEYS[idKey], '1', 'NX', 'PX', ARGV[4])",
        replace: "redis.call('SET', KEYS[idKey], '1', 'PX', ARGV[4])",
      },
    ],
    check: FAULTS_REDIS,
  },
  {
    name: "message-acked-early",
    promise: "a message is acknowledged only after the hot commit of its events",
    edits: [
      {
        file: "src/intake/deliveries.ts",
        find: 'const end = this.#isOver ? "left" : await intake.take(delivery, this.hold);',
        replace:
          'const end = this.#isOver ? "left" : "done"; ' +
          "void Bun.sleep(100).then(() => intake.take(delivery, this.hold));",
      },
      {
        file: "src/intake/deliveries.ts",
        find: "if (!this.#isOver) left = await this.#options.intake.takeTogether(deliveries);",
        replace:
          "if (!this.#isOver) left = new Set(); " +
          "void Bun.sleep(100).then(() => this.#options.intake.takeTogether(deliveries));",
      },
    ],
    check: QUEUE,
  },
  {
    name: "message-id-not-used",
    promise: "a message that comes again counts once",
    edits: [
      {
        file: "src/intake/message-content.ts",
        find: "if (event.id !== undefined || id === undefined) return event;",
        replace: "if (event !== undefined) return event;",
      },
    ],
    check: QUEUE,
  },
];

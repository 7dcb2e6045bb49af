/**
 * Reads past hours from a MySQL replica, which may lag or be unavailable.
 *
 * Invariant: no read misses anything that the primary had when the read was requested. Reads of the primary guarantee
 * the same, so callers that rely on it need not know which server answers. (A range does: an hour that left the hot
 * store was flushed before.)
 *
 * The primary reports its progress first. Then, in one transaction, so that any proxy sends it to one server, the
 * replica is asked whether it has reached that progress, and if so, for the data. If not, it is asked again for
 * WAIT_MAX_MS. Then the primary is read, and the replica is skipped for a while; also if it does not answer. Nothing is
 * remembered about a replica between reads, since one address may lead to several. A database that is not a replica of
 * the primary never reaches its progress, since it lacks its writers.
 *
 * Watermarks do not cover deletions by retention, which a replica may apply later: its answer was true before, and the
 * retention bounds are read from the primary.
 */
import { withDeadline } from "../../../runtime/clock.ts";
import { errorText } from "../../../runtime/error-text.ts";
import type { OnReplicaChange, PastReads } from "../../cold.ts";
import { RowVisitorError } from "../../sql/row-visitor.ts";
import { hasReached, type Progress, readProgress } from "./flushed-position.ts";
import { type MysqlLinkOptions, MysqlPool, type MysqlSession } from "./sql-session.ts";

interface MysqlReplicaOptions {
  /** The replica, for ranges and for scans of whole tables. */
  readonly links: Readonly<Record<PastRead, MysqlLinkOptions>>;
  readonly primary: MysqlPool;
  readonly onChange?: OnReplicaChange | undefined;
}

export type PastRead = "range" | "scan";

const RANGE_SESSIONS = 4;
const SCAN_SESSIONS = 1;
/** A replica takes about 100 ms for a transaction of 10,000 rows. */
const WAIT_MAX_MS = 300;
const WAIT_STEP_MS = 10;
/** The query takes 1 ms; a server that stopped answering must not delay a read for long. */
const ASK_TIMEOUT_MS = 500;
const BEHIND_REST_MS = 1_000;
const UNAVAILABLE_REST_MS = 5_000;

const BEHIND = "it lacks what the primary has: it lags behind, or is no replica of it";

type Why = Exclude<keyof PastReads, "replica">;

export class MysqlReplica {
  readonly reads: Record<keyof PastReads, number> = { replica: 0, behind: 0, away: 0 };
  readonly #primary: MysqlPool;
  readonly #sessions: Readonly<Record<PastRead, MysqlPool>>;
  readonly #onChange: OnReplicaChange;
  /** Why the last attempt failed. */
  #failure: Why | undefined;
  #rest: { readonly why: Why; readonly untilMs: number } = { why: "away", untilMs: Number.NEGATIVE_INFINITY };

  constructor({ links, primary, onChange = () => {} }: MysqlReplicaOptions) {
    this.#primary = primary;
    this.#onChange = onChange;
    this.#sessions = {
      range: new MysqlPool(links.range, RANGE_SESSIONS),
      scan: new MysqlPool(links.scan, SCAN_SESSIONS),
    };
  }

  /** Runs `work` on the replica, or falls back to `onPrimary`. */
  async read<T>(kind: PastRead, work: (session: MysqlSession) => Promise<T>, onPrimary: () => Promise<T>): Promise<T> {
    const found = await this.#tryToRead(kind, work);
    if (typeof found === "object") {
      this.reads.replica += 1;
      return found.value;
    }
    this.reads[found] += 1;
    return await onPrimary();
  }

  async #tryToRead<T>(
    kind: PastRead,
    work: (session: MysqlSession) => Promise<T>,
  ): Promise<{ readonly value: T } | Why> {
    if (performance.now() < this.#rest.untilMs) return this.#rest.why;
    const wanted = await this.#primary.use(readProgress);
    try {
      const found = await this.#sessions[kind].use((session) => readOnceReached(session, wanted, work));
      if (found === undefined) return this.#restFor("behind", BEHIND_REST_MS, BEHIND);
      this.#note(undefined);
      return found;
    } catch (error) {
      if (error instanceof RowVisitorError) throw error;
      return this.#restFor("away", UNAVAILABLE_REST_MS, errorText(error));
    }
  }

  #restFor(why: Why, restMs: number, problem: string): Why {
    this.#rest = { why, untilMs: performance.now() + restMs };
    this.#note(why, problem);
    return why;
  }

  #note(failure: Why | undefined, problem?: string): void {
    if (failure === this.#failure) return;
    this.#failure = failure;
    this.#onChange(problem);
  }

  async close(graceMs: number): Promise<void> {
    await Promise.all(Object.values(this.#sessions).map((sessions) => sessions.close(graceMs)));
  }
}

/** Undefined if the server does not reach `wanted` in time. */
async function readOnceReached<T>(
  session: MysqlSession,
  wanted: Progress,
  work: (session: MysqlSession) => Promise<T>,
): Promise<{ readonly value: T } | undefined> {
  const giveUpMs = performance.now() + WAIT_MAX_MS;
  for (;;) {
    const isThere = withDeadline(begin(session, wanted), ASK_TIMEOUT_MS, () => new Error("no answer"));
    if (await isThere) {
      const value = await work(session);
      await session.run("COMMIT");
      return { value };
    }
    await session.run("ROLLBACK");
    if (performance.now() >= giveUpMs) return undefined;
    await Bun.sleep(WAIT_STEP_MS);
  }
}

async function begin(session: MysqlSession, wanted: Progress): Promise<boolean> {
  await session.run("START TRANSACTION READ ONLY");
  return await hasReached(session, wanted);
}

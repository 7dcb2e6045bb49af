/**
 * A pool of sessions.
 * Invariant: at most `maxSessions` sessions, and MAX_WAITING callers waiting for one.
 */
import { withDeadline } from "../../../runtime/clock.ts";
import { Slots } from "../../../runtime/slots.ts";
import { type MysqlLinkOptions, MysqlSession } from "./sql-session.ts";

/** Replaces idle sessions well before the server ends them, so that none is taken just as it ends. */
const MAX_IDLE_MS = 30_000;
const MAX_WAITING = 256;

/** Runs `work` on a new session, which it does not share. */
export async function withOwnSession<T>(
  options: MysqlLinkOptions,
  work: (session: MysqlSession) => Promise<T>,
): Promise<T> {
  const session = new MysqlSession(options);
  try {
    return await work(await session.ready());
  } finally {
    await session.end();
  }
}

interface IdleSession {
  readonly session: MysqlSession;
  readonly sinceMs: number;
}

export class MysqlPool {
  readonly #options: MysqlLinkOptions;
  readonly #places: Slots;
  readonly #idle: IdleSession[] = [];
  readonly #working = new Map<MysqlSession, Promise<unknown>>();
  readonly #closing = new AbortController();

  constructor(options: MysqlLinkOptions, maxSessions: number) {
    this.#options = options;
    this.#places = new Slots(maxSessions, MAX_WAITING);
  }

  /** Reuses the session only if `work` succeeds, so `work` must then leave no transaction open. */
  async use<T>(work: (session: MysqlSession) => Promise<T>): Promise<T> {
    const { signal } = this.#closing;
    signal.throwIfAborted();
    const workOnAny = async () => {
      signal.throwIfAborted();
      return await this.#workOn(this.#takeIdle() ?? new MysqlSession(this.#options), work);
    };
    return await this.#places.use(workOnAny, () => this.#untilTooLate());
  }

  async #workOn<T>(session: MysqlSession, work: (session: MysqlSession) => Promise<T>): Promise<T> {
    try {
      const working = session.ready().then(work);
      this.#working.set(session, working);
      const result = await working;
      this.#idle.push({ session, sinceMs: performance.now() });
      return result;
    } catch (error) {
      session.destroy();
      throw error;
    } finally {
      this.#working.delete(session);
    }
  }

  #takeIdle(): MysqlSession | undefined {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (idle.session.isUsable && performance.now() - idle.sinceMs < MAX_IDLE_MS) return idle.session;
      void idle.session.end();
    }
    return undefined;
  }

  /** Aborts if no slot becomes free in time, or when the pool closes. */
  #untilTooLate(): AbortSignal {
    const { connectTimeoutMs } = this.#options;
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new Error(`no connection became free within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
    timer.unref();
    return AbortSignal.any([this.#closing.signal, late.signal]);
  }

  /** Gives work in progress `graceMs` to finish. Never throws. */
  async close(graceMs: number): Promise<void> {
    this.#closing.abort(new Error("this store is closed"));
    const ended = Promise.allSettled(this.#working.values());
    await withDeadline(ended, graceMs, () => new Error("still at work")).catch(() => {});
    for (const session of this.#working.keys()) session.destroy();
    await Promise.all(this.#idle.splice(0).map(({ session }) => session.end()));
  }
}

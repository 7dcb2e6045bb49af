/**
 * A pool of sessions.
 * Invariant: at most `maxSessions` sessions, and `MAX_WAITING` callers waiting for one.
 */
import { withDeadline } from "../../../runtime/deadline.ts";
import { type MysqlLinkOptions, MysqlSession } from "./sql-session.ts";

/** An idle session is replaced well before the server ends it, so that none is taken just as it ends. */
const MAX_IDLE_MS = 30_000;
const MAX_WAITING = 256;

/** Runs `work` on a new session, for what must not share one. */
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

interface Waiter {
  readonly proceed: () => void;
  readonly refuse: (error: Error) => void;
}

interface IdleSession {
  readonly session: MysqlSession;
  readonly sinceMs: number;
}

export class MysqlPool {
  readonly #options: MysqlLinkOptions;
  readonly #maxSessions: number;
  readonly #idle: IdleSession[] = [];
  readonly #working = new Map<MysqlSession, Promise<unknown>>();
  readonly #waiters: Waiter[] = [];
  #taken = 0;
  #closed = false;

  constructor(options: MysqlLinkOptions, maxSessions: number) {
    this.#options = options;
    this.#maxSessions = maxSessions;
  }

  /** The session goes back only if `work` succeeded, so it has to leave no transaction open then. */
  async use<T>(work: (session: MysqlSession) => Promise<T>): Promise<T> {
    await this.#takePlace();
    try {
      this.#refuseIfClosed();
      return await this.#workOn(this.#takeIdle() ?? new MysqlSession(this.#options), work);
    } finally {
      this.#leavePlace();
    }
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

  #refuseIfClosed(): void {
    if (this.#closed) throw new Error("this store is closed");
  }

  #takeIdle(): MysqlSession | undefined {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (idle.session.isUsable && performance.now() - idle.sinceMs < MAX_IDLE_MS) return idle.session;
      void idle.session.end();
    }
    return undefined;
  }

  async #takePlace(): Promise<void> {
    this.#refuseIfClosed();
    if (this.#taken < this.#maxSessions) {
      this.#taken += 1;
      return;
    }
    if (this.#waiters.length >= MAX_WAITING) {
      throw new Error(`all ${this.#maxSessions} connections are busy, and ${MAX_WAITING} callers wait for one`);
    }
    await this.#waitForPlace();
  }

  #waitForPlace(): Promise<void> {
    const { connectTimeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(new Error(`no connection became free within ${connectTimeoutMs} ms`));
      }, connectTimeoutMs);
      const waiter: Waiter = {
        proceed: () => {
          clearTimeout(timer);
          resolve();
        },
        refuse: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.#waiters.push(waiter);
    });
  }

  /** Hands the place to the longest waiting caller, else gives it up. */
  #leavePlace(): void {
    const next = this.#waiters.shift();
    if (next === undefined) this.#taken -= 1;
    else next.proceed();
  }

  /** Work in progress gets `graceMs` to end by itself. Never throws. */
  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#waiters.splice(0)) waiter.refuse(new Error("this store was closed"));
    const ended = Promise.allSettled(this.#working.values());
    await withDeadline(ended, graceMs, () => new Error("still at work")).catch(() => {});
    for (const session of this.#working.keys()) session.destroy();
    await Promise.all(this.#idle.splice(0).map(({ session }) => session.end()));
  }
}

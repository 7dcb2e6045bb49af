/**
 * Simulated time: a queue of tasks, ordered by due time. A step takes the next task, advances the time to it, runs it,
 * and then all promise reactions that it caused.
 *
 * Invariants: the real event loop takes no part, so a run depends only on its seed. A task of an ended process never
 * runs; one of a stopped process runs when that continues.
 */
import { drainMicrotasks } from "bun:jsc";

/** Whose task it is: a process, or a server. */
export interface Owner {
  readonly name: string;
  isDead: boolean;
  /** Stopped until then; 0 if it runs. */
  frozenUntilMs: number;
}

export interface Task {
  atMs: number;
  /** Before its owner was stopped, if that was: what was due first runs first. */
  readonly dueMs: number;
  readonly owner: Owner | undefined;
  /** Undefined once it was cancelled. */
  run: (() => void) | undefined;
  order: number;
}

export class Scheduler {
  nowMs: number;
  steps = 0;
  /** Whose the last step was. */
  lastOwner: Owner | undefined;
  /** Covers all steps so far: two runs with the same hash did the same. */
  hash = 0;
  readonly #heap: Task[] = [];
  #order = 0;

  constructor(startMs: number) {
    this.nowMs = startMs;
  }

  at(atMs: number, owner: Owner | undefined, run: () => void): Task {
    const dueMs = Math.max(atMs, this.nowMs);
    const task: Task = { atMs: dueMs, dueMs, owner, run, order: this.#order++ };
    this.#push(task);
    return task;
  }

  after(delayMs: number, owner: Owner | undefined, run: () => void): Task {
    return this.at(this.nowMs + delayMs, owner, run);
  }

  cancel(task: Task | undefined): void {
    if (task !== undefined) task.run = undefined;
  }

  /** False once nothing is left to do before `untilMs`, which it is then. */
  step(untilMs: number): boolean {
    for (;;) {
      const task = this.#heap[0];
      if (task === undefined || task.atMs > untilMs) {
        this.nowMs = untilMs;
        return false;
      }
      this.#pop();
      const { owner, run } = task;
      if (run === undefined || owner?.isDead) continue;
      if (owner !== undefined && owner.frozenUntilMs > task.atMs) {
        task.atMs = owner.frozenUntilMs;
        this.#push(task);
        continue;
      }
      this.nowMs = Math.max(this.nowMs, task.atMs);
      this.steps += 1;
      this.lastOwner = owner;
      this.note(this.nowMs * 64 + task.order);
      task.run = undefined;
      run();
      drainMicrotasks();
      return true;
    }
  }

  /** Takes a number into the hash. */
  note(value: number): void {
    this.hash = Math.imul(this.hash ^ (value % 0x7fffffff), 0x9e3779b1) ^ (this.hash >>> 15);
  }

  #isBefore(a: Task, b: Task): boolean {
    if (a.atMs !== b.atMs) return a.atMs < b.atMs;
    return a.dueMs === b.dueMs ? a.order < b.order : a.dueMs < b.dueMs;
  }

  #push(task: Task): void {
    const heap = this.#heap;
    let at = heap.push(task) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(task, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = task;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!this.#isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

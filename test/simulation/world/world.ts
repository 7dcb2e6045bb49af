/**
 * A run: servers, processes and clients under one scheduler, and what is checked after each step.
 *
 * Invariant: all that happens follows from the plan, whose seed every random number comes from.
 */
import { drainMicrotasks } from "bun:jsc";
import { Metrics } from "../../../src/runtime/metrics.ts";
import type { ColdStore } from "../../../src/store/cold/cold-store.ts";
import { Books } from "../check/books.ts";
import { type Report, type SentEvent, SentEvents, type Told } from "../check/events.ts";
import { type Check, Failure } from "../check/failure.ts";
import { checkCold, checkHot } from "../check/stores.ts";
import { type ReadingSite, read } from "../clients/readers.ts";
import { send } from "../clients/senders.ts";
import { type Fault, faultText, type HotServerName, type ServerName } from "../faults/kinds.ts";
import { strike } from "../faults/strike.ts";
import { ColdClient } from "../stores/cold/client.ts";
import { ColdData, type EventRow } from "../stores/cold/data.ts";
import { ColdServer } from "../stores/cold/server.ts";
import { HotClient } from "../stores/hot/client.ts";
import { HotData } from "../stores/hot/data.ts";
import { HotServer } from "../stores/hot/server.ts";
import { Link } from "./network.ts";
import type { Plan, PlannedAction } from "./plan.ts";
import { Process } from "./process.ts";
import { Random } from "./random.ts";
import { Scheduler } from "./scheduler.ts";
import { Trace } from "./trace.ts";

export interface WorldOptions {
  readonly plan: Plan;
  readonly isTraced: boolean;
  /** Which checks end a run: others are not looked at. */
  readonly checks: ReadonlySet<Check>;
}

/** One for all runs: nothing is read from it. */
const METRICS = new Metrics();

export class World implements ReadingSite {
  readonly plan: Plan;
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly trace: Trace;
  readonly events: SentEvents;
  readonly books: Books;
  readonly wall = { skewMs: 0 };
  readonly pace = { leastIntervalMs: 0 };
  readonly cold: ColdServer;
  readonly hots: readonly HotServer[];
  isClosing = false;
  readonly processes: (Process | undefined)[] = [];
  readonly report: Report;
  /** Of hot stores that have lost writes: the writers that had made some, and their last seq, until that is noticed. */
  readonly #losses = new Map<HotServer, Map<string, number>>();
  readonly #links = new Map<string, Link>();
  readonly #writers = new Map<string, Process>();
  readonly #copies = new Map<Fault, { readonly of: HotData; readonly copy: HotData }>();
  readonly #ends = new Map<Process, (() => void)[]>();
  readonly #stores = new Map<Process, { hotShards: readonly HotClient[]; cold: ColdStore }>();
  #checkedVersion = 0;
  #starts = 0;
  /** The first: it ends the run after the step in which it showed. */
  #failure: Failure | undefined;

  constructor({ plan, isTraced, checks }: WorldOptions) {
    this.plan = plan;
    const { seed, startMs, settings } = plan;
    this.scheduler = new Scheduler(startMs);
    this.random = new Random(seed, "world");
    this.trace = new Trace(isTraced, startMs, () => this.wallMs);
    this.report = (check, message) => {
      if (checks.has(check)) this.#failure ??= new Failure(check, message);
    };
    this.events = new SentEvents(this.report);
    this.books = new Books(this.report, (process) => this.events.ended(process));
    const listener = { stored: (row: EventRow) => this.events.stored(row) };
    this.cold = new ColdServer(new ColdData({ listener, nowMs: () => Math.floor(this.wallMs) }));
    this.hots = Array.from({ length: settings.shards }, (_, i) => {
      return new HotServer(`redis-${i}`, (server) => this.newHotData(server));
    });
    for (const action of plan.actions) this.#schedule(action);
    for (let slot = 0; slot < settings.processes; slot++) this.startProcess(slot);
  }

  get wallMs(): number {
    return this.scheduler.nowMs + this.wall.skewMs;
  }

  #schedule(action: PlannedAction): void {
    this.scheduler.at(action.atMs, undefined, () => this.#act(action));
    if (action.type !== "fault") return;
    const { fault } = action;
    if (fault.name !== "lose-writes" && fault.name !== "failover") return;
    this.scheduler.at(action.atMs - fault.lostMs, undefined, () => {
      const { data } = this.hotServer(fault.server);
      this.#copies.set(fault, { of: data, copy: data.copy() });
    });
  }

  #act(action: PlannedAction): void {
    switch (action.type) {
      case "pace":
        this.pace.leastIntervalMs = action.leastIntervalMs;
        if (action.leastIntervalMs === 0) for (const process of this.processes) process?.hurry();
        return;
      case "send":
        send(this, action);
        return;
      case "read":
        read(this, action);
        return;
      case "fault":
        if (this.trace.isOn) this.trace.add("FAULT", faultText(action.fault));
        strike(this, action.fault);
    }
  }

  newHotData(server: HotServer): HotData {
    const nowMs = () => Math.floor(this.wallMs + server.skewMs);
    return new HotData(nowMs, this.plan.settings.leaseMs, {
      committed: (_, batch) => this.events.committed(batch),
    });
  }

  /** Of before the fault. What a store has lost does not come back: no copy of a data set that is gone is used. */
  takeCopy(fault: Fault, data: HotData): HotData | undefined {
    const taken = this.#copies.get(fault);
    return taken?.of === data ? taken.copy : undefined;
  }

  server(name: ServerName): HotServer | ColdServer {
    return name === "mysql" ? this.cold : this.hotServer(name);
  }

  hotServer(name: HotServerName): HotServer {
    return this.hots[Number(name.slice("redis-".length))]!;
  }

  /** Of a place of processes: whoever is started there again uses it too. */
  link(slot: number, server: ServerName): Link {
    const name = `${slot} ${server}`;
    let link = this.#links.get(name);
    if (link === undefined) {
      link = new Link(this.scheduler, new Random(this.plan.seed, name));
      this.#links.set(name, link);
    }
    return link;
  }

  startProcess(slot: number): void {
    if (this.processes[slot]?.isDead === false) return;
    this.#starts += 1;
    const name = `node-${slot}.${this.#starts}`;
    const { scheduler, trace, pace, wall, plan } = this;
    const random = new Random(plan.seed, name);
    const settings = {
      ...plan.settings,
      retentionDays: undefined,
      aggregateRetentionDays: undefined,
      maxStreams: 100,
    };
    const process = new Process({
      ...{ name, scheduler, random, trace, pace, wall, metrics: METRICS, settings },
      onBrokenInvariant: ({ message }) => this.report("crash", message),
      openStores: (opened) => this.#openStores(opened, slot),
    });
    this.processes[slot] = process;
    if (trace.isOn) trace.add(name, "starts");
    void process.pipeline.start();
  }

  #openStores(process: Process, slot: number) {
    const { scheduler, trace } = this;
    const common = { scheduler, process, trace, clock: process.clock };
    const hotShards = this.hots.map((server) => {
      const link = this.link(slot, server.name as ServerName);
      const onRegister = (writer: string, isDone: boolean) => {
        this.#writers.set(writer, process);
        if (isDone) this.#foundOut(process, server);
      };
      return new HotClient({ ...common, link, server, onRegister });
    });
    const cold = new ColdClient({ ...common, link: this.link(slot, "mysql"), server: this.cold });
    const stores = { hotShards, cold: cold as unknown as ColdStore };
    this.#stores.set(process, stores);
    return stores;
  }

  processOf(writer: string): Process | undefined {
    return this.#writers.get(writer);
  }

  storesOf(process: Process) {
    return this.#stores.get(process)!;
  }

  healLinks(): void {
    for (const link of this.#links.values()) link.heal();
  }

  runningAt(slot: number): Process | undefined {
    const process = this.processes[slot];
    return process?.isRunning ? process : undefined;
  }

  processAt(slot: number): Process | undefined {
    const { processes } = this;
    for (let i = 0; i < processes.length; i++) {
      const process = this.runningAt((slot + i) % processes.length);
      if (process !== undefined) return process;
    }
    return undefined;
  }

  kill(slot: number): void {
    const process = this.processes[slot];
    if (process === undefined || process.isDead) return;
    process.kill();
    this.#ended(process, slot);
  }

  async stop(slot: number): Promise<void> {
    const process = this.runningAt(slot);
    if (process === undefined) return;
    process.isStopping = true;
    await process.pipeline.stop();
    if (process.isDead) return;
    process.kill();
    this.#ended(process, slot);
    if (this.trace.isOn) this.trace.add(process.name, "has stopped");
  }

  #ended(process: Process, slot: number): void {
    for (const server of [...this.hots, this.cold]) this.link(slot, server.name as ServerName).reset();
    this.events.ended(process);
    for (const act of this.#ends.get(process) ?? []) act();
    this.#ends.delete(process);
  }

  onEnd(process: Process, act: () => void): void {
    const acts = this.#ends.get(process);
    if (acts === undefined) this.#ends.set(process, [act]);
    else acts.push(act);
  }

  stopHot(server: HotServer): void {
    server.stop();
    this.#resetLinksTo(server.name as ServerName);
  }

  stopCold(): void {
    this.cold.stop();
    this.#resetLinksTo("mysql");
  }

  #resetLinksTo(server: ServerName): void {
    for (let slot = 0; slot < this.processes.length; slot++) this.link(slot, server).reset();
  }

  /** It will come back with `after`. */
  noteLoss(server: HotServer, after: HotData): void {
    const before = server.data;
    if (before === after) return;
    const lost = this.events.lost(before, after, (writer) => this.#writers.get(writer));
    const writers = this.#losses.get(server) ?? new Map<string, number>();
    for (const writer of this.#writers.keys()) {
      const last = before.lastSeq(writer) ?? -1;
      if (last > (after.lastSeq(writer) ?? -1)) writers.set(writer, last);
    }
    this.#losses.set(server, writers);
    if (this.trace.isOn) this.trace.add(server.name, `has lost writes, ${lost} unflushed events among them`);
  }

  /** It takes part in the data set as that is now. */
  #foundOut(process: Process, server: HotServer): void {
    for (const writer of this.#losses.get(server)?.keys() ?? []) {
      if (this.#writers.get(writer) === process) this.#losses.get(server)!.delete(writer);
    }
  }

  /**
   * Of a process that has ended nobody notices anything before its journal is adopted; if there is one. What was not
   * acknowledged is sent again, and then nothing is missing.
   */
  #isUnnoticed(server: HotServer): boolean {
    const writers = this.#losses.get(server);
    for (const [writer, last] of writers ?? []) {
      if ((server.data.lastSeq(writer) ?? -1) >= last) continue;
      if (!this.#writers.get(writer)!.isDead || server.data.journals.has(writer)) return true;
    }
    this.#losses.delete(server);
    return false;
  }

  get hasLosses(): boolean {
    return this.hots.some((server) => this.#isUnnoticed(server));
  }

  submitted(process: Process, events: number): void {
    this.books.submitted(process, events);
  }

  answered(process: Process, sent: readonly SentEvent[], told: readonly Told[]): void {
    this.books.answered(process, told);
    for (const [i, event] of sent.entries()) {
      if (this.trace.isOn) this.trace.add(process.name, `answers ${event.event.user}: ${told[i]}`);
      const shard = this.hots.map((server) => server.data);
      if (told[i] === "stored") this.events.acknowledged(event, this.scheduler.nowMs, shard);
      else if (told[i] === "refused") this.events.refused(event, shard);
    }
  }

  /** Throws Failure. */
  step(untilMs: number): boolean {
    const isAny = this.scheduler.step(untilMs);
    this.#checkStores();
    const { lastOwner } = this.scheduler;
    if (lastOwner instanceof Process && !lastOwner.isDead) this.books.check(lastOwner);
    this.throwFailure();
    return isAny;
  }

  throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Whatever changes a store changes its version; each data set begins with one of its own. */
  #checkStores(): void {
    const { cold, hots } = this;
    let version = cold.data.version + this.#losses.size;
    for (const { data } of hots) version += data.version;
    if (version === this.#checkedVersion) return;
    this.#checkedVersion = version;
    checkCold(cold.data, this.report);
    for (const [shard, server] of hots.entries()) {
      if (!this.#isUnnoticed(server)) checkHot(server.data, cold.data, shard, this.report);
    }
  }

  /** Lets what is due now settle, without a step of time. */
  settle(): void {
    drainMicrotasks();
  }
}

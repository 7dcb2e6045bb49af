/**
 * A run: servers, processes and clients under one scheduler, and the checks after each step.
 *
 * Invariant: everything that happens follows from the plan, whose seed determines every random number.
 */
import { drainMicrotasks } from "bun:jsc";
import { Metrics } from "../../../src/runtime/metrics.ts";
import type { ColdStore } from "../../../src/store/cold.ts";
import { Books } from "../check/books.ts";
import { type Report, type SentEvent, SentEvents, type Told } from "../check/events.ts";
import { type Check, Failure } from "../check/failure.ts";
import { checkCold, checkHot } from "../check/stores.ts";
import { type ReadingSite, read } from "../clients/readers.ts";
import { send } from "../clients/senders.ts";
import { type Fault, faultText, type ServerName } from "../faults/kinds.ts";
import { strike } from "../faults/strike.ts";
import { ColdClient } from "../stores/cold/client.ts";
import { ColdData, type EventRow } from "../stores/cold/data.ts";
import { ColdServer } from "../stores/cold/server.ts";
import { HotClient } from "../stores/hot/client.ts";
import { HotData } from "../stores/hot/data.ts";
import type { HotServer } from "../stores/hot/server.ts";
import { Masters } from "./masters.ts";
import { Link } from "./network.ts";
import type { Plan, PlannedAction } from "./plan.ts";
import { Process } from "./process.ts";
import { Random } from "./random.ts";
import { Scheduler } from "./scheduler.ts";
import { SetBacks } from "./set-backs.ts";
import { Trace } from "./trace.ts";

export interface WorldOptions {
  readonly plan: Plan;
  readonly isTraced: boolean;
  /** Which checks end a run: others are not looked at. */
  readonly checks: ReadonlySet<Check>;
}

/** A command that was answered takes less. */
const VAIN_MS = 1_000;
const VAIN_EPOCHS_MAX = 3;
const SLOW_MS = 3_000;
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
  readonly masters: Masters;
  readonly setBacks: SetBacks;
  isClosing = false;
  /** Faults that wait for ids to be restored: then the server fails over to a replica that lags from there on. */
  readonly armed = new Map<ServerName, Extract<Fault, { name: "lose-restored" }>>();
  readonly processes: (Process | undefined)[] = [];
  readonly report: Report;
  readonly #links = new Map<string, Link>();
  readonly #copies = new Map<Fault, { readonly server: HotServer; readonly of: HotData; readonly copy: HotData }>();
  readonly #ends = new Map<Process, (() => void)[]>();
  readonly #stores = new Map<Process, { hotShards: readonly HotClient[]; cold: ColdStore }>();
  #checkedVersion = 0;
  #checkedColdVersion = 0;
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
    const listener = {
      stored: (row: EventRow) => {
        this.events.stored(row, this.setBacks.unsealed.has(row.writer));
        this.masters.stored(row);
        this.setBacks.stored(row);
      },
      flushed: (writer: string, shard: number, epoch: number | undefined) => {
        const current = this.cold.data.epoch(shard);
        if (epoch !== current)
          this.report("late-rows", `${writer} stored rows of epoch ${epoch}, and it is ${current}`);
      },
    };
    this.cold = new ColdServer(new ColdData({ listener, nowMs: () => Math.floor(this.wallMs) }));
    const { scheduler, trace, events } = this;
    this.masters = new Masters({
      ...{ scheduler, trace, events, shards: settings.shards, areReplicasAwaited: settings.areReplicasAwaited },
      newData: (server) => this.newHotData(server),
      isAhead: (shard, data) => this.setBacks.isUnnoticed(shard, data),
    });
    const onLost = (isLost: (row: EventRow) => boolean) => this.masters.unstored(isLost);
    const hotData = (shard: number) => this.masters.current[shard]!.data;
    const hasLosses = () => this.masters.haveLosses;
    this.setBacks = new SetBacks({ server: this.cold, events, report: this.report, hotData, hasLosses, onLost });
    for (const action of plan.actions) this.#schedule(action);
    for (let slot = 0; slot < settings.processes; slot++) this.startProcess(slot);
  }

  get wallMs(): number {
    return this.scheduler.nowMs + this.wall.skewMs;
  }

  #schedule(action: PlannedAction): void {
    // First, so that it comes first also if both are due at the start.
    if (action.type === "fault") this.#scheduleLag(action.fault, action.atMs);
    this.scheduler.at(action.atMs, undefined, () => this.#act(action));
  }

  #scheduleLag(fault: Fault, atMs: number): void {
    if (!("lostMs" in fault)) return;
    this.scheduler.at(atMs - fault.lostMs, undefined, () => {
      if (fault.name === "set-back") return this.setBacks.copyFor(fault);
      const server = this.masters.named(fault.server);
      this.#copies.set(fault, { server, of: server.data, copy: server.data.copy() });
      server.lags += 1;
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
      case "retire":
        this.runningAt(action.process)
          ?.pipeline.retire()
          .catch(() => {});
        return;
      case "fault":
        if (this.trace.isOn) this.trace.add("FAULT", faultText(action.fault));
        this.#endLag(action.fault);
        strike(this, action.fault);
    }
  }

  #endLag(fault: Fault): void {
    const taken = this.#copies.get(fault);
    if (taken !== undefined) taken.server.lags -= 1;
  }

  newHotData(server: HotServer): HotData {
    const nowMs = () => Math.floor(this.wallMs + server.skewMs);
    return new HotData(nowMs, this.plan.settings.leaseMs, {
      committed: (data, batch) =>
        this.events.committed(batch, this.masters.isDivided(data), this.masters.isCurrent(data)),
      initialized: (data) => this.setBacks.initialized(data),
      restoring: (data) => this.#restoring(server, data),
      removing: (writer) => {
        if (!this.cold.data.isSealed(writer) && !this.setBacks.unsealed.has(writer))
          this.report("late-rows", `the journal of ${writer} is removed, and it may still store rows`);
      },
    });
  }

  #restoring(server: HotServer, data: HotData): void {
    const fault = [...this.armed.values()].find((armed) => this.masters.named(armed.server) === server);
    if (fault === undefined || this.isClosing) return;
    this.armed.delete(fault.server);
    const failover: Fault = { name: "failover", server: fault.server, lostMs: 0, lastsMs: fault.lastsMs };
    this.#copies.set(failover, { server, of: data, copy: data.copy() });
    server.lags += 1;
    // So that it may be over before the next ids are read.
    const links = this.slots.map((slot) => this.link(slot, "mysql"));
    for (const link of links) link.slowness = fault.factor;
    this.scheduler.after(SLOW_MS, undefined, () => {
      for (const link of links) link.heal();
    });
    this.scheduler.after(fault.afterMs, undefined, () => {
      this.#endLag(failover);
      if (this.isClosing) return;
      if (this.trace.isOn) this.trace.add("FAULT", faultText(failover));
      strike(this, failover);
    });
  }

  /** A copy from before the fault. Copies of a lost data set are not used: lost data never comes back. */
  takeCopy(fault: Fault, data: HotData): HotData | undefined {
    const taken = this.#copies.get(fault);
    return taken?.of === data ? taken.copy : undefined;
  }

  server(name: ServerName): HotServer | ColdServer {
    return name === "mysql" ? this.cold : this.masters.named(name);
  }

  get #serverNames(): readonly ServerName[] {
    return [...this.masters.current.map((_, shard): ServerName => `redis-${shard}`), "mysql"];
  }

  /** The link of a place, which every process started there uses. */
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
      aggregateRetentionDays: plan.settings.retentionDays,
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
    const { masters } = this;
    const { areReplicasAwaited } = this.plan.settings;
    const hotShards = masters.current.map((_, shard) => {
      return new HotClient({
        ...{ ...common, link: this.link(slot, `redis-${shard}`), areReplicasAwaited },
        master: () => masters.of(slot, shard),
        onRegister: (writer) => masters.registers(writer, process),
        onRegistered: (writer, server) => masters.registered(writer, server, shard),
      });
    });
    const cold = new ColdClient({
      ...{ ...common, link: this.link(slot, "mysql"), server: this.cold },
      onBeginEpoch: (shard) => this.#checkEpoch(masters.of(slot, shard)),
    });
    const stores = { hotShards, cold: cold as unknown as ColdStore };
    this.#stores.set(process, stores);
    return stores;
  }

  /** One or some may be begun just when a master begins to refuse writes, not one after the other. */
  #checkEpoch(master: HotServer): void {
    const { tooFewReplicasSinceMs = Number.POSITIVE_INFINITY, fullSinceMs = Number.POSITIVE_INFINITY } = master;
    if (this.scheduler.nowMs - Math.min(tooFewReplicasSinceMs, fullSinceMs) < VAIN_MS) return;
    master.vainEpochs += 1;
    if (master.vainEpochs > VAIN_EPOCHS_MAX)
      this.report("bounds", `${master.vainEpochs} epochs were begun at ${master.name}, which accepts no writes`);
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
    // It was to be started again while it still stopped.
    if (this.isClosing) this.startProcess(slot);
  }

  #ended(process: Process, slot: number): void {
    for (const name of this.#serverNames) this.link(slot, name).reset();
    this.events.ended(process);
    for (const act of this.#ends.get(process) ?? []) act();
    this.#ends.delete(process);
  }

  onEnd(process: Process, act: () => void): void {
    const acts = this.#ends.get(process);
    if (acts === undefined) this.#ends.set(process, [act]);
    else acts.push(act);
  }

  get slots(): readonly number[] {
    return this.processes.map((_, slot) => slot);
  }

  resetLinks(slots: readonly number[], server: ServerName): void {
    for (const slot of slots) this.link(slot, server).reset();
  }

  /** Two masters, if there were, are one again. */
  join(shard: number): void {
    this.resetLinks(this.masters.join(shard), `redis-${shard}`);
  }

  get hasLosses(): boolean {
    return this.masters.haveLosses;
  }

  submitted(process: Process, events: number): void {
    this.books.submitted(process, events);
  }

  answered(process: Process, sent: readonly SentEvent[], told: readonly Told[]): void {
    this.books.answered(process, told);
    for (const [i, event] of sent.entries()) {
      if (this.trace.isOn) this.trace.add(process.name, `answers ${event.event.user}: ${told[i]}`);
      const { masters, scheduler, processes } = this;
      if (told[i] === "stored") this.events.acknowledged(event, process, scheduler.nowMs, masters.data);
      else if (told[i] === "refused") this.events.refused(event, masters.dataOf(processes.indexOf(process)));
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
    const { cold, masters } = this;
    const version = cold.data.version + masters.version;
    if (version === this.#checkedVersion) return;
    this.#checkedVersion = version;
    if (cold.data.version !== this.#checkedColdVersion) checkCold(cold.data, this.report);
    this.#checkedColdVersion = cold.data.version;
    for (const [shard, { data }] of masters.current.entries()) {
      if (!masters.isUnnoticed(shard)) checkHot(data, cold.data, shard, this.report);
    }
  }

  /** Lets what is due now settle, without a step of time. */
  settle(): void {
    drainMicrotasks();
  }
}

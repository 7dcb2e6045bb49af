/** A Redis in memory: its data, and the state that a fault puts it in. */
import type { Owner } from "../../world/scheduler.ts";
import type { HotData } from "./data.ts";

/** An error reply: the script has written nothing. */
export class ErrorReply extends Error {
  /** The client is to look for another server. */
  readonly isForAnother: boolean;

  constructor(message: string, isForAnother = false) {
    super(message);
    this.isForAnother = isForAnother;
  }
}

/** The kind of a script's first command: one that frees memory may write even to a full server. */
export type Access = "reads" | "frees" | "writes";

export class HotServer implements Owner {
  readonly name: string;
  isDead = false;
  frozenUntilMs = 0;
  /** No process, no connections. */
  isDown = false;
  isReadOnly = false;
  fullSinceMs: number | undefined;
  isCutOff = false;
  /** How many faults are about to strike that a replica lags for. */
  lags = 0;
  /** Since then it has too few replicas (`min-replicas-to-write`): scripts that write are refused. */
  tooFewReplicasSinceMs: number | undefined;
  /** Begun by processes to which it had refused writes for a while. */
  vainEpochs = 0;
  /** Connections are to one run of it. */
  run = 1;
  data: HotData;
  /** Its clock's difference from the world's time. */
  skewMs = 0;
  readonly #onReset = new Set<() => void>();

  constructor(name: string, newData: (server: HotServer) => HotData) {
    this.name = name;
    this.data = newData(this);
  }

  /** Has a replica that has what it has written. */
  get hasReplica(): boolean {
    return !this.isCutOff && this.lags === 0;
  }

  /** Throws ErrorReply. */
  execute<T>(access: Access, script: (data: HotData) => T): T {
    if (this.isReadOnly && access !== "reads") throw new ErrorReply("READONLY it is a replica", true);
    if (this.tooFewReplicasSinceMs !== undefined && access !== "reads")
      throw new ErrorReply("NOREPLICAS not enough good replicas");
    if (this.fullSinceMs !== undefined && access === "writes") throw new ErrorReply("OOM it is full");
    return script(this.data);
  }

  onReset(act: () => void): void {
    this.#onReset.add(act);
  }

  stop(): void {
    this.isDown = true;
    this.run += 1;
    for (const act of this.#onReset) act();
  }

  start(data: HotData): void {
    this.data = data;
    this.isDown = false;
    this.isReadOnly = false;
    this.fullSinceMs = undefined;
  }
}

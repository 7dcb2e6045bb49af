/** The kinds of faults and how long they last. strike.ts says what each does to the world. */
import type { PlanSettings } from "../world/plan.ts";
import type { Random } from "../world/random.ts";

export type HotServerName = `redis-${number}`;
export type ServerName = HotServerName | "mysql";

interface OfLink {
  readonly process: number;
  readonly server: ServerName;
}

interface PlannedSplit {
  readonly server: HotServerName;
  readonly lostMs: number;
  /** Processes that stay with the former master. */
  readonly slots: readonly number[];
  readonly writableMs: number;
  readonly hasReplica: boolean;
}

export type Fault = { readonly lastsMs: number } & (
  | { readonly name: "kill" | "stop" | "freeze"; readonly process: number }
  | ({ readonly name: "cut" | "hold" } & OfLink)
  | ({ readonly name: "slow"; readonly factor: number } & OfLink)
  | ({ readonly name: "lose-answer" | "lose-request"; readonly count: number } & OfLink)
  | ({ readonly name: "cut-after" | "late-request"; readonly at: "work" | "commit" } & OfLink)
  | { readonly name: "freeze-server" | "read-only" | "full"; readonly server: ServerName }
  | { readonly name: "restart-server"; readonly server: ServerName }
  | { readonly name: "lose-writes"; readonly server: HotServerName; readonly lostMs: number }
  | { readonly name: "failover"; readonly server: HotServerName; readonly lostMs: number }
  | (PlannedSplit & { readonly name: "split" })
  | { readonly name: "empty"; readonly server: HotServerName }
  | { readonly name: "set-back"; readonly server: "mysql"; readonly lostMs: number }
  | {
      readonly name: "lose-restored";
      readonly server: HotServerName;
      readonly afterMs: number;
      readonly factor: number;
    }
  | { readonly name: "clock"; readonly process: number; readonly byMs: number }
  | { readonly name: "server-clock"; readonly server: HotServerName; readonly byMs: number }
  | { readonly name: "turn-hour"; readonly byMs: number }
);

export type FaultName = Fault["name"];

export const FAULT_NAMES = [
  "kill",
  "stop",
  "freeze",
  "cut",
  "hold",
  "slow",
  "lose-answer",
  "lose-request",
  "cut-after",
  "late-request",
  "freeze-server",
  "read-only",
  "full",
  "restart-server",
  "lose-writes",
  "failover",
  "split",
  "empty",
  "lose-restored",
  "set-back",
  "clock",
  "server-clock",
  "turn-hour",
] as const satisfies readonly FaultName[];

/** After these a store lacks what it has acknowledged. */
export const LOSSES: readonly FaultName[] = ["lose-writes", "failover", "split", "empty", "lose-restored", "set-back"];

const HOUR_MS = 3_600_000;

export function planFault(name: FaultName, random: Random, settings: PlanSettings): Fault {
  const { leaseMs } = settings;
  const process = random.integer(0, settings.processes - 1);
  const hotServer: HotServerName = `redis-${random.integer(0, settings.shards - 1)}`;
  const server = random.chance(0.3) ? "mysql" : hotServer;
  const shortMs = random.pick([30, 300, 1_500, 5_000]) * random.between(0.5, 1.5);
  const longMs = random.chance(0.5) ? shortMs : leaseMs * random.between(0.8, 2.5);
  const byMs = random.pick([1_000, 60_000, HOUR_MS, 26 * HOUR_MS]) * random.pick([-1, 1, 1]);
  switch (name) {
    case "kill":
    case "stop":
      return { name, process, lastsMs: longMs };
    case "freeze":
      return { name, process, lastsMs: random.chance(0.6) ? leaseMs * random.between(1.1, 2) : shortMs };
    case "cut":
    case "hold":
      return { name, process, server, lastsMs: longMs };
    case "slow":
      return { name, process, server, factor: random.pick([10, 100, 400]), lastsMs: longMs };
    case "lose-answer":
    case "lose-request":
      return { name, process, server, count: random.integer(1, 3), lastsMs: 0 };
    case "cut-after":
    case "late-request":
      return { name, process, server, at: random.pick(["work", "commit"]), lastsMs: longMs };
    case "freeze-server":
    case "read-only":
    case "full":
      return { name, server, lastsMs: longMs };
    case "restart-server":
      return { name, server, lastsMs: shortMs };
    case "lose-writes":
    case "failover":
      return { name, server: hotServer, lostMs: random.pick([20, 200, 1_000, 3_000]), lastsMs: shortMs };
    case "split":
      return {
        ...{ name, server: hotServer, lostMs: random.pick([20, 200, 1_000]), lastsMs: longMs },
        slots: Array.from({ length: settings.processes }, (_, slot) => slot).filter(() => random.chance(0.5)),
        writableMs: random.pick([2_000, Number.POSITIVE_INFINITY]),
        hasReplica: random.chance(0.5),
      };
    case "empty":
      return { name, server: hotServer, lastsMs: shortMs };
    case "lose-restored":
      return {
        ...{ name, server: hotServer, afterMs: random.pick([0.1, 2, 20, 300]) * random.next() },
        ...{ factor: random.pick([1, 100, 400]), lastsMs: random.pick([1, 10, shortMs]) },
      };
    case "set-back":
      return { name, server: "mysql", lostMs: random.pick([200, 2_000, 20_000, 120_000]), lastsMs: shortMs };
    case "clock":
      return { name, process, byMs, lastsMs: 0 };
    case "server-clock":
      return {
        name,
        server: hotServer,
        byMs: random.pick([-1, 1]) * random.pick([1_000, leaseMs]),
        lastsMs: 0,
      };
    case "turn-hour":
      return { name, byMs: random.pick([1, 1, 2, 6, 12]) * HOUR_MS, lastsMs: 0 };
  }
}

export function faultText(fault: Fault): string {
  const { name, lastsMs, ...rest } = fault;
  const details = Object.entries(rest).map(([key, value]) => `${key} ${value}`);
  const time = lastsMs > 0 ? [`for ${Math.round(lastsMs)} ms`] : [];
  return `${name}: ${[...details, ...time].join(", ")}`;
}

/**
 * Which faults strike, where, when and for how long: all derived from the seed, so that a run is repeatable. (What the
 * parts are doing at that instant remains chance.)
 *
 * Invariants: a target suffers one fault at a time, several targets at once. Between two waves of faults everything is
 * healed for a moment, so that there is always something to lose.
 */
import type { Random } from "../../harness/pipeline/random.ts";
import { addTo, type Say } from "../verdict/report.ts";
import type { FaultKind, Target } from "./fault-kinds.ts";

export interface PlannedFault {
  readonly target: Target;
  readonly kind: FaultKind;
  readonly holdMs: number;
  /** Since the start of the previous fault. */
  readonly pauseMs: number;
  /** All faults before have to be over first, and some time has to pass. */
  readonly calmMs: number;
}

export interface InflictedFault {
  readonly name: string;
  readonly target: string;
  readonly fromMs: number;
  untilMs: number | undefined;
}

const PAUSE_MAX_MS = 700;
const LONG_SHARE = 0.1;
const FAULTS_PER_WAVE = 8;
const CALM_MAX_MS = 1_500;

export function planFaults(targets: readonly Target[], count: number, random: Random): PlannedFault[] {
  return Array.from({ length: count }, (_, i) => {
    const [target, kind] = pickWeighted(targets, random);
    const longestMs = random.chance(LONG_SHARE) ? kind.longHoldMs : kind.holdMs;
    return {
      target,
      kind,
      holdMs: Math.round(random.fraction() * longestMs),
      pauseMs: Math.round(random.fraction() * PAUSE_MAX_MS),
      calmMs: i % FAULTS_PER_WAVE === 0 ? Math.round(random.fraction() * CALM_MAX_MS) : 0,
    };
  });
}

function pickWeighted(targets: readonly Target[], random: Random): [Target, FaultKind] {
  const choices = targets.flatMap((target) => target.kinds.map((kind): [Target, FaultKind] => [target, kind]));
  let left = random.fraction() * choices.reduce((sum, [, { weight }]) => sum + weight, 0);
  for (const choice of choices) {
    left -= choice[1].weight;
    if (left < 0) return choice;
  }
  return choices.at(-1)!;
}

export class FaultRun {
  readonly inflicted: InflictedFault[] = [];
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #startedMs: number;
  readonly #say: Say;
  #failure: unknown;

  constructor(startedMs: number, say: Say) {
    this.#startedMs = startedMs;
    this.#say = say;
  }

  /** Throws if a part did not come back. */
  async inflict(plan: readonly PlannedFault[]): Promise<void> {
    for (const fault of plan) {
      if (fault.calmMs > 0) {
        await this.#allOver();
        await Bun.sleep(fault.calmMs);
      }
      await Bun.sleep(fault.pauseMs);
      await this.#underWay.get(fault.target.name);
      if (this.#failure !== undefined) break;
      this.#begin(fault);
    }
    await this.#allOver();
    if (this.#failure !== undefined) throw this.#failure;
  }

  #begin({ target, kind, holdMs }: PlannedFault): void {
    const record: InflictedFault = {
      name: kind.name,
      target: target.name,
      fromMs: this.#elapsedMs,
      untilMs: undefined,
    };
    this.inflicted.push(record);
    const ended = kind
      .inflict(holdMs)
      .catch((error: unknown) => {
        this.#say(`${kind.name} (${target.name}): ${error}`);
        this.#failure ??= error;
      })
      .finally(() => {
        record.untilMs = this.#elapsedMs;
      });
    this.#underWay.set(target.name, ended);
  }

  async #allOver(): Promise<void> {
    await Promise.all(this.#underWay.values());
  }

  get #elapsedMs(): number {
    return Math.round(performance.now() - this.#startedMs);
  }

  byName(): Map<string, number> {
    const tally = new Map<string, number>();
    for (const { name } of this.inflicted) addTo(tally, name);
    return tally;
  }

  /** Helps to find the fault that an event suffered from. */
  log(): string[] {
    return this.inflicted.map(({ name, target, fromMs, untilMs }) => {
      return `${fromMs} to ${untilMs ?? "?"} ms: ${name} (${target})`;
    });
  }
}

/** The clients' view of the world: the reachable processes, and the record of their events. */
import type { SentEvent, SentEvents, Told } from "../check/events.ts";
import type { Process } from "../world/process.ts";
import type { Random } from "../world/random.ts";
import type { Scheduler } from "../world/scheduler.ts";

export interface Site {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly events: SentEvents;
  /** The run is about to end: nothing more is sent. */
  readonly isClosing: boolean;
  /** By correct clocks. */
  readonly wallMs: number;
  /** The one of this place, or another one that runs; undefined if none does. */
  processAt(slot: number): Process | undefined;
  /** Once, when it has ended. */
  onEnd(process: Process, act: () => void): void;
  submitted(process: Process, events: number): void;
  answered(process: Process, sent: readonly SentEvent[], told: readonly Told[]): void;
}

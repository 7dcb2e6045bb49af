/** Handles SIGTERM and SIGINT from the process's first moment. */
import { constants } from "node:os";

const SIGNALS = ["SIGTERM", "SIGINT"] as const;
/** Shell convention: the exit status of a process killed by a signal is 128 plus its number. */
const KILLED_BY_SIGNAL = 128;

/**
 * Ends the process on a signal, until onStopSignal() is called. `isService`: exits with 0, since stopping a service
 * while it starts is no failure.
 */
export function exitOnSignals(isService: boolean): void {
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (process.listenerCount(signal) > 1) return;
      process.exit(isService ? 0 : KILLED_BY_SIGNAL + constants.signals[signal]);
    });
  }
}

export function onStopSignal(act: (signal: string) => void): void {
  for (const signal of SIGNALS) process.on(signal, () => act(signal));
}

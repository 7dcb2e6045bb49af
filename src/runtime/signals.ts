/** SIGTERM and SIGINT, from the first moment of the process on. */
import { constants } from "node:os";

const SIGNALS = ["SIGTERM", "SIGINT"] as const;
/** By convention of shells. */
const KILLED_BY_SIGNAL = 128;

/**
 * Ends the process on a signal, until onStopSignal() is called. `isService`: exits with 0, since a service that is
 * stopped while it starts has not failed.
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

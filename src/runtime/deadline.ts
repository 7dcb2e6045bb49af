/**
 * The promise's value, or the error of `onDeadline` after `ms`. The promise itself continues. An answer that has
 * arrived by then still counts: in a busy process the timer is due before the sockets are read.
 */
export async function withDeadline<T>(promise: Promise<T>, ms: number, onDeadline: () => Error): Promise<T> {
  let timer: Timer | undefined;
  let isSettled = false;
  const deadline = new Promise<never>((_, reject) => {
    const giveUp = () => {
      if (!isSettled) reject(onDeadline());
    };
    // One of two turns of the event loop begins after the timer, and reads the sockets before it ends.
    timer = setTimeout(() => setImmediate(() => setImmediate(giveUp)), ms);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    isSettled = true;
    clearTimeout(timer);
  }
}

/** Like withDeadline(), but the time starts again whenever `progress` has changed. */
export async function withStallDeadline<T>(
  promise: Promise<T>,
  ms: number,
  progress: () => number,
  onDeadline: () => Error,
): Promise<T> {
  for (;;) {
    const before = progress();
    const stalled = onDeadline();
    try {
      return await withDeadline(promise, ms, () => stalled);
    } catch (error) {
      if (error !== stalled || progress() === before) throw error;
    }
  }
}

export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const text = error.message === "" ? error.name : error.message;
  return "code" in error && typeof error.code === "string" && !text.includes(error.code)
    ? `${text} (${error.code})`
    : text;
}

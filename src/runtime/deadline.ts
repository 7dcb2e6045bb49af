/**
 * The promise's value, or `onDeadline`'s error once `ms` have passed. The promise itself goes on. What has arrived by
 * then still counts: in a process that was kept busy the timer is due before anybody has looked at the sockets.
 */
export async function withDeadline<T>(promise: Promise<T>, ms: number, onDeadline: () => Error): Promise<T> {
  let timer: Timer | undefined;
  let isSettled = false;
  const deadline = new Promise<never>((_, reject) => {
    const giveUp = () => {
      if (!isSettled) reject(onDeadline());
    };
    // Of two turns of the event loop one begins after this, and looks at the sockets before it ends.
    timer = setTimeout(() => setImmediate(() => setImmediate(giveUp)), ms);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    isSettled = true;
    clearTimeout(timer);
  }
}

/** Like withDeadline(), but the time begins anew as long as `progress` answers another number each time. */
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

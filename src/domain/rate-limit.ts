/** A number of events or requests per time window, in bursts or spread out. */
export interface RateLimit {
  readonly count: number;
  readonly windowMs: number;
}

const COUNT_MAX = 1_000_000;
const RATE = /^([1-9]\d*)\/([smh])$/;

export const EXPECTS_RATE = `a number from 1 to ${COUNT_MAX} per s, m or h (second, minute, hour), such as 100/s`;
const WINDOWS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };

export function rateLimitOf(text: string): RateLimit | undefined {
  const [, digits, unit = ""] = RATE.exec(text) ?? [];
  const windowMs = WINDOWS_MS[unit];
  const count = Number(digits);
  return windowMs === undefined || count > COUNT_MAX ? undefined : { count, windowMs };
}

export function rateLimitText({ count, windowMs }: RateLimit): string {
  const [unit] = Object.entries(WINDOWS_MS).find(([, ms]) => ms === windowMs)!;
  return `${count}/${unit}`;
}

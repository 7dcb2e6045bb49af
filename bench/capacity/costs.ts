/** The costs of an event and of a batch, in µs of CPU time unless stated otherwise. */
export interface Costs {
  /** In the instance's event loop. */
  readonly instanceEventUs: number;
  readonly instanceBatchUs: number;
  /** In the instance's flush thread. */
  readonly flushEventUs: number;
  /** In Redis' only thread. */
  readonly redisEventUs: number;
  readonly redisBatchUs: number;
  readonly mysqlEventUs: number;
  /** How long a flush holds the rows of its hours: not of a processor. */
  readonly hourLockMs: number;
  /** In the load driver, if it runs on the same machine. */
  readonly driverEventUs: number;
}

/**
 * Fitted so that the simulation, on two cores that are shared, comes to what docs/performance.md and docs/scaling.md
 * say of one instance: 33,000 events/s with 256 connections at 28.6 µs of the instance and 2.4 of Redis (simulated:
 * 34,100, 28.6, 2.45), and 50 and 16 µs at 15,000 events/s (53, 17). `npm run bench -- instances` measures them anew.
 */
export const MEASURED: Costs = {
  instanceEventUs: 22.6,
  instanceBatchUs: 106,
  flushEventUs: 3,
  redisEventUs: 0.55,
  redisBatchUs: 67,
  mysqlEventUs: 5.7,
  hourLockMs: 4,
  driverEventUs: 20,
};

/** A measurement at one batch size: two of them give the cost of an event and of a batch. */
export interface Point {
  readonly batchEvents: number;
  readonly usPerEvent: number;
}

/** Neither is less than nothing: where both points say the same, all of it is the event's. */
export function fitted(a: Point, b: Point): { readonly eventUs: number; readonly batchUs: number } {
  const [large, small] = a.batchEvents > b.batchEvents ? [a, b] : [b, a];
  const difference = 1 / small.batchEvents - 1 / large.batchEvents;
  const slope = difference > 0 ? (small.usPerEvent - large.usPerEvent) / difference : 0;
  const batchUs = Math.min(Math.max(0, slope), large.usPerEvent * large.batchEvents);
  return { batchUs, eventUs: large.usPerEvent - batchUs / large.batchEvents };
}

import { heapStats } from "bun:jsc";

/** What this process keeps: garbage is collected first. */
export function heapBytes(): number {
  Bun.gc(true);
  return heapStats().heapSize;
}

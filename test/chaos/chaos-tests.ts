/** Shared by the tests of chaos suites: the stores they run on, and what a report must say. */
import { expect } from "bun:test";
import type { ServerKind } from "../harness/servers/binaries.ts";
import type { SiteMode } from "./site/chaos-site.ts";
import { type Report, reportText } from "./verdict/report.ts";

export const TIMEOUT_MS = 180_000;
export const SERVERS: readonly ServerKind[] = ["redis", "mariadb"];

export interface ChaosMode {
  readonly mode: SiteMode;
  readonly shards: number;
  readonly needs: readonly ServerKind[];
}

export const MODES: readonly ChaosMode[] = [
  { mode: "embedded", shards: 1, needs: [] },
  { mode: "redis", shards: 1, needs: SERVERS },
  { mode: "redis", shards: 3, needs: SERVERS },
];

export const say = () => {};

export function expectAllHeld(report: Report): void {
  console.log(reportText(report));
  expect(report.skipped).toBeUndefined();
  expect(report.problems).toEqual([]);
}

/** Runs one job of driver.c, which blocks its thread until it is over. See http-load.ts. */

import { cc } from "bun:ffi";
import { join } from "node:path";
import type { DriverJob } from "./http-load.ts";

declare const self: Worker;

const SOURCE = join(import.meta.dir, "driver.c");

self.onmessage = ({ data: pointers }: MessageEvent<DriverJob>) => {
  const { load } = cc({
    source: SOURCE,
    symbols: { load: { args: ["ptr", "ptr", "ptr", "ptr", "ptr", "ptr"], returns: "int" } },
  }).symbols;
  self.postMessage(load(...pointers));
};

#!/usr/bin/env bun
/**
 * Starts the command that the arguments name; without one, the service.
 *
 * Invariant: signals have a handler before anything large is loaded. In a container the process has the id 1, and the
 * kernel drops a SIGTERM for which that process has no handler: it would be killed after the whole grace period. The
 * handler comes after the process has replaced itself, since it would not be there any more in between.
 */
import { keepFreedMemory } from "./cli/serve/allocator.ts";
import { exitOnSignals } from "./runtime/signals.ts";

const [command = "serve", ...options] = process.argv.slice(2);
const isService = command === "serve" && options.length === 0;
if (isService) keepFreedMemory(process.env);
exitOnSignals(isService);
const { runProgram } = await import("./cli/program.ts");
await runProgram(process.argv);

#!/usr/bin/env bun
/**
 * Starts the command named by the arguments, by default the service.
 *
 * Invariant: signal handlers are installed before anything large is loaded. In a container the process has the id 1,
 * and the kernel drops a SIGTERM that it has no handler for: it would be killed only after the grace period. The
 * handlers come after the process has replaced itself, which would remove them.
 */
import { applyStartupEnvironment } from "./cli/serve/startup-environment.ts";
import { exitOnSignals } from "./runtime/signals.ts";

const [command = "serve", ...options] = process.argv.slice(2);
const isService = command === "serve" && options.length === 0;
if (isService) applyStartupEnvironment(process.env);
exitOnSignals(isService);
const { runProgram } = await import("./cli/program.ts");
await runProgram(process.argv);

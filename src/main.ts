#!/usr/bin/env bun
/** The command line. Without a command it serves. */
import { Command } from "commander";
import { description, version } from "../package.json";
import { healthcheck } from "./commands/healthcheck.ts";
import { serve } from "./commands/serve.ts";
import { ConfigError, readConfig, settingsHelp } from "./config.ts";

const program = new Command("hourglass")
  .description(description)
  .version(version)
  .showHelpAfterError()
  .addHelpText(
    "after",
    `\nSettings, from the environment (and what they are if not set):\n${settingsHelp()}`,
  );

program
  .command("serve", { isDefault: true })
  .description("run the service (the default)")
  .action(() => serve(readConfig(process.env)));

program
  .command("healthcheck")
  .description("exit with 0 if the instance on this machine is ready, else with 1")
  .action(async () => process.exit(await healthcheck(readConfig(process.env))));

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  console.error(`hourglass cannot start:\n${error.message}`);
  process.exit(2);
}

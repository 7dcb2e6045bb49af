/** `hourglass migrate`: creates the tables, for a service whose MySQL user may not. */
import type { Command } from "commander";
import { exitWith } from "./arguments.ts";
import { print } from "./shared/output.ts";
import { withColdStore } from "./shared/with-stores.ts";

export function addMigrate(program: Command): void {
  program
    .command("migrate")
    .description("create or update the tables in the cold store, as the service does at its start")
    .action(
      exitWith((config) =>
        withColdStore(config, async ({ description }) => {
          print(`${description}: the tables are up to date`);
          return 0;
        }),
      ),
    );
}

#!/usr/bin/env bun
/** The command line. Without a command it serves. */
import { Command, InvalidArgumentError } from "commander";
import { description, version } from "../package.json";
import { type Choice, dropDeadLetters, listDeadLetters, replayDeadLetters } from "./commands/dead-letters.ts";
import { healthcheck } from "./commands/healthcheck.ts";
import { serve } from "./commands/serve.ts";
import { signRedirect } from "./commands/sign-redirect.ts";
import { verify } from "./commands/verify.ts";
import { ConfigError, readConfig, settingsHelp } from "./config.ts";
import { errorText } from "./count/deadline.ts";
import { STREAM } from "./http/analytics-query.ts";
import { webUrl } from "./http/redirect-targets.ts";
import { ColdUnavailableError } from "./store/cold.ts";
import { HotUnavailableError } from "./store/hot.ts";

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

program
  .command("verify")
  .description("compare the hot store, the aggregates and the rows of hours; exits with 1 if some differ")
  .option("--hour <time>", "of this hour alone: 2026-01-31T12 (UTC), or ms since the epoch", timeArgument)
  .option("--stream <name>", "of this stream alone")
  .option("--repair", "make what is wrong anew, from the rows", false)
  .option("--json", "a JSON object a line", false)
  .action(async (options) => process.exit(await verify(readConfig(process.env), options)));

program
  .command("sign-redirect")
  .description("print a link that counts a click and leads to a page, signed with REDIRECT_SECRET")
  .argument("<url>", "the page", webUrlArgument)
  .option("--stream <name>", "the stream that the click counts in", streamArgument)
  .option("--base <url>", "where browsers reach the service, if not at HOST and PORT", webUrlArgument)
  .action((url: URL, options) => console.log(signRedirect(readConfig(process.env), url, options)));

const deadLetters = program
  .command("dead-letters")
  .description("events that were acknowledged, and whose rows the cold store refused");

deadLetters
  .command("list")
  .description("show them, and why they were refused")
  .option("--json", "a JSON object a line", false)
  .action(async ({ json }) => process.exit(await listDeadLetters(readConfig(process.env), json)));

deadLetters
  .command("replay")
  .description("store and count them now, once the reason is gone; exits with 1 if one is refused again")
  .argument("[numbers...]", "which ones", numberArgument)
  .option("--all", "all of them", false)
  .action(async (numbers, { all }, command) => {
    process.exit(await replayDeadLetters(readConfig(process.env), choice(numbers, all, command)));
  });

deadLetters
  .command("drop")
  .description("forget them: they will never be counted")
  .argument("[numbers...]", "which ones", numberArgument)
  .option("--all", "all of them", false)
  .action(async (numbers, { all }, command) => {
    process.exit(await dropDeadLetters(readConfig(process.env), choice(numbers, all, command)));
  });

function timeArgument(text: string): number {
  const at = /^\d+$/.test(text) ? Number(text) : Date.parse(/T\d\d$/.test(text) ? `${text}:00Z` : text);
  if (!Number.isFinite(at)) throw new InvalidArgumentError("It takes 2026-01-31T12, or ms since the epoch.");
  return at;
}

function webUrlArgument(text: string): URL {
  const url = webUrl(text);
  if (url === undefined) throw new InvalidArgumentError("It takes a URL such as https://example.com/page.");
  return url;
}

function streamArgument(text: string): string {
  if (!STREAM.test(text)) throw new InvalidArgumentError("It takes 1 to 64 of A-Z a-z 0-9 . _ -");
  return text;
}

function numberArgument(text: string, earlier: number[] = []): number[] {
  if (!/^[1-9]\d{0,14}$/.test(text))
    throw new InvalidArgumentError("It takes the numbers that `list` shows.");
  return [...earlier, Number(text)];
}

function choice(numbers: number[] | undefined, all: boolean, command: Command): Choice {
  const isClear = all !== (numbers !== undefined && numbers.length > 0);
  if (!isClear) command.error("error: say which ones by their numbers, or --all", { exitCode: 2 });
  return { numbers: numbers ?? [], all };
}

try {
  await program.parseAsync();
} catch (error) {
  const isStoreAway = error instanceof ColdUnavailableError || error instanceof HotUnavailableError;
  if (!(error instanceof ConfigError || isStoreAway)) throw error;
  console.error(`hourglass cannot ${isStoreAway ? "do this" : "start"}:\n${errorText(error)}`);
  process.exit(2);
}

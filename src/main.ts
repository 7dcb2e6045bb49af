#!/usr/bin/env bun
/** The command line. Without a command it serves. */
import { Value } from "@sinclair/typebox/value";
import { Command, type CommanderError, InvalidArgumentError, Option } from "commander";
import { description, version } from "../package.json";
import { benchService } from "./cli/bench.ts";
import { dropDeadLetters, listDeadLetters, replayDeadLetters } from "./cli/dead-letters.ts";
import { exportEvents } from "./cli/export.ts";
import { forget } from "./cli/forget.ts";
import { healthcheck } from "./cli/healthcheck.ts";
import { LOG_KINDS } from "./cli/import/event-reader.ts";
import { importFiles } from "./cli/import/import.ts";
import { FORMATS } from "./cli/import/layout.ts";
import { createKey, listKeys, revokeKeys } from "./cli/keys.ts";
import { dropPoison, listPoison, replayPoison } from "./cli/poison.ts";
import { serve } from "./cli/serve/serve.ts";
import { signRedirect } from "./cli/sign-redirect.ts";
import type { Choice } from "./cli/stores/set-aside.ts";
import { boundOf, EXPECTS_BOUND } from "./cli/typed-time.ts";
import { verify } from "./cli/verify.ts";
import { SCOPES, type Scope } from "./domain/api-key.ts";
import { EXPECTS_RATE, type RateLimit, rateLimitOf } from "./domain/rate-limit.ts";
import { EXPECTS_STREAMS, isStreamPattern } from "./domain/stream-set.ts";
import { webUrl } from "./http/ingest/redirect-targets.ts";
import { EventObjectSchema } from "./protocol/event-object-rules.ts";
import { isShort } from "./protocol/event-query.ts";
import { DEFAULT_STREAM, EXPECTS_USER } from "./protocol/event-rules.ts";
import { errorText } from "./runtime/deadline.ts";
import { readConfig, settingsHelp } from "./settings/read-config.ts";
import { ConfigError } from "./settings/settings.ts";
import { ColdUnavailableError } from "./store/cold.ts";
import { HotUnavailableError } from "./store/hot.ts";

/** Of one key: they have their place in a column. */
const KEY_STREAMS_MAX = 50;

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
  .command("import")
  .description(
    "send the events of files to a running service: access logs (common or combined), CSV (its header names " +
      "timestamp, user, event, and perhaps stream and id), NDJSON (objects with those members), all of them as " +
      "they are or gzipped. Run again, it goes on from where it was. Exits with 1 if lines were bad, with 2 if " +
      "it could not",
  )
  .argument("[files...]", "'-', or none: standard input, which it does not remember")
  .option("--url <url>", "of the service (as HOST and PORT say)", urlArgument)
  .addOption(oneOf("--format <format>", "of the files; auto: as the first line tells", ["auto", ...FORMATS]))
  .option("--stream <name>", "of events that name none", streamArgument, DEFAULT_STREAM)
  .addOption(oneOf("--kind <kind>", "of a log's lines; referrer: a click if it has one", LOG_KINDS))
  .option("--new-ids", "leave the ids in the files out: each line counts once by its place", false)
  .option("--state <file>", "remembers what is imported (DATA_DIR/import.sqlite)")
  .addOption(
    new Option("--doubtful <what>", "what to do with events sent a day ago and not answered").choices([
      "send",
      "skip",
    ]),
  )
  .option(
    "--retry-for <seconds>",
    "how long it asks a service that does not take events",
    secondsArgument,
    120,
  )
  .option("--strict", "stop at the first bad line, and go on there when run again", false)
  .option("--json", "the summary as a JSON object", false)
  .exitOverride(exitWithUsage)
  .action(async (files, options) => process.exit(await importFiles(readConfig(process.env), files, options)));

program
  .command("export")
  .description("write the events that the cold store has, as import takes them; exits with 2 if it could not")
  .option("--from <time>", `the first: ${EXPECTS_BOUND}`, boundArgument)
  .option("--to <time>", "the same: up to it, and without it", boundArgument)
  .option("--stream <name>", "of this stream alone", streamArgument)
  .addOption(oneOf("--format <format>", "of the output", ["csv", "ndjson"]))
  .option("--out <file>", "where to (standard output)")
  .exitOverride(exitWithUsage)
  .action(async (options) => process.exit(await exportEvents(readConfig(process.env), options)));

program
  .command("forget")
  .description(
    "delete what is stored of a user: rows, dead letters, and events that are on their way to be rows. Counts " +
      "stay. Killed or run again it goes on. Exits with 2 if it could not",
  )
  .requiredOption("--user <user>", "as the events gave it", userArgument)
  .option("--stream <name>", "of this stream alone", streamArgument)
  .option("--dry-run", "delete nothing, and count what would be", false)
  .option("--url <url>", "of an embedded service, which has to be asked (as HOST and PORT say)", urlArgument)
  .option("--wait-for <seconds>", "how long, for events that are on their way", secondsArgument, 60)
  .option("--json", "the numbers as a JSON object", false)
  .exitOverride(exitWithUsage)
  .action(async (options) => process.exit(await forget(readConfig(process.env), options)));

program
  .command("bench")
  .description(
    "send made-up events to a running service, and say how many it takes; exits with 2 if it takes none",
  )
  .option("--url <url>", "of the service (as HOST and PORT say)", urlArgument)
  .option("--seconds <n>", "how long", countArgument, 10)
  .option("--connections <n>", "how many send at once", countArgument, 64)
  .option("--batch <n>", "events in a request", countArgument, 1)
  .option("--stream <name>", "the stream that they count in", streamArgument, "bench")
  .option("--json", "the figures as a JSON object", false)
  .exitOverride(exitWithUsage)
  .action(async (options) => process.exit(await benchService(readConfig(process.env), options)));

program
  .command("sign-redirect")
  .description("print a link that counts a click and leads to a page, signed with REDIRECT_SECRET")
  .argument("<url>", "the page", webUrlArgument)
  .option("--stream <name>", "the stream that the click counts in", streamArgument)
  .option("--base <url>", "where browsers reach the service, if not at HOST and PORT", webUrlArgument)
  .action((url: URL, options) => console.log(signRedirect(readConfig(process.env), url, options)));

const keys = program
  .command("keys")
  .description("API keys, for what REQUIRE_KEYS says; a running service knows of a change within 5 seconds");

keys
  .command("create")
  .description("make a key, and show it: it is not shown again")
  .requiredOption("--name <name>", "whose it is, or what for", nameArgument)
  .requiredOption("--scope <scopes>", `what it is good for: some of ${SCOPES.join(", ")}`, scopesArgument)
  .option("--stream <streams>", "for these alone: names, or what names begin with (shop.*)", streamsArgument)
  .option("--expires <time>", `when it ends: ${EXPECTS_BOUND}`, futureArgument)
  .option(
    "--limit <rate>",
    "how many events and reads it may send, such as 100/s, 1000/m, 5000/h",
    rateArgument,
  )
  .option("--json", "as a JSON object", false)
  .action(async (options, command) => {
    if (options.stream !== undefined && options.scope.includes("admin"))
      command.error("error: ledger and metrics are of all streams: scope admin takes no --stream", {
        exitCode: 2,
      });
    process.exit(await createKey(readConfig(process.env), options));
  });

keys
  .command("list")
  .description("show all keys that there ever were, without their secrets")
  .option("--json", "a JSON object a line", false)
  .action(async ({ json }) => process.exit(await listKeys(readConfig(process.env), json)));

keys
  .command("revoke")
  .description("end keys; exits with 1 if one is not there, or was revoked before")
  .argument("<ids...>", "the first part of a key, as `list` shows it", idArgument)
  .option("--json", "a JSON object a line", false)
  .action(async (ids, { json }) => process.exit(await revokeKeys(readConfig(process.env), ids, json)));

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

const poison = program
  .command("poison")
  .description("what came from a queue and could not become an event, as it came (docs/queue.md)");

poison
  .command("list")
  .description("show it, and why")
  .option("--json", "a JSON object a line, with the whole text", false)
  .action(async ({ json }) => process.exit(await listPoison(readConfig(process.env), json)));

poison
  .command("replay")
  .description("send it to the service, once the reason is gone; exits with 1 if something is refused again")
  .argument("[numbers...]", "which ones", numberArgument)
  .option("--all", "all of it", false)
  .option("--url <url>", "of the service (as HOST and PORT say)", urlArgument)
  .action(async (numbers, { all, url }, command) => {
    process.exit(await replayPoison(readConfig(process.env), choice(numbers, all, command), url));
  });

poison
  .command("drop")
  .description("forget it: it will never be counted")
  .argument("[numbers...]", "which ones", numberArgument)
  .option("--all", "all of it", false)
  .action(async (numbers, { all }, command) => {
    process.exit(await dropPoison(readConfig(process.env), choice(numbers, all, command)));
  });

function timeArgument(text: string): number {
  const at = /^\d+$/.test(text) ? Number(text) : Date.parse(/T\d\d$/.test(text) ? `${text}:00Z` : text);
  if (!Number.isFinite(at)) throw new InvalidArgumentError("It takes 2026-01-31T12, or ms since the epoch.");
  return at;
}

function boundArgument(text: string): number {
  const at = boundOf(text);
  if (at === undefined) throw new InvalidArgumentError(`It takes ${EXPECTS_BOUND}.`);
  return at;
}

function futureArgument(text: string): number {
  const at = boundArgument(text);
  if (at <= Date.now()) throw new InvalidArgumentError("It takes a time that is not over yet.");
  return at;
}

/** Without a slash at its end. */
function urlArgument(text: string): string {
  const url = URL.parse(text);
  const isPlain = url !== null && [url.search, url.hash, url.username, url.password].join("") === "";
  if (!isPlain || !/^https?:$/.test(url.protocol))
    throw new InvalidArgumentError("It takes a URL such as http://127.0.0.1:7777.");
  return url.href.replace(/\/+$/, "");
}

function streamArgument(text: string): string {
  const { stream } = EventObjectSchema.properties;
  if (!Value.Check(stream, text)) throw new InvalidArgumentError(`It takes ${stream.description}.`);
  return text;
}

function nameArgument(text: string): string {
  // Control characters would let a name look like another line of a list.
  if (!/^[^\p{C}]{1,100}$/u.test(text)) throw new InvalidArgumentError("It takes 1 to 100 characters.");
  return text;
}

/** Given once or several times, each a list. */
function scopesArgument(text: string, earlier: Scope[] = []): Scope[] {
  const found = text.split(",").map((name) => SCOPES.find((scope) => scope === name.trim()));
  if (found.includes(undefined)) throw new InvalidArgumentError(`It takes some of ${SCOPES.join(", ")}.`);
  return [...new Set([...earlier, ...(found as Scope[])])];
}

function streamsArgument(text: string, earlier: string[] = []): string[] {
  const found = text.split(",").map((pattern) => pattern.trim());
  const all = [...new Set([...earlier, ...found])];
  if (!found.every(isStreamPattern)) throw new InvalidArgumentError(`It takes ${EXPECTS_STREAMS}.`);
  if (all.length > KEY_STREAMS_MAX)
    throw new InvalidArgumentError(
      `It takes ${KEY_STREAMS_MAX} of them at most: give what names begin with.`,
    );
  return all;
}

function rateArgument(text: string): RateLimit {
  const limit = rateLimitOf(text);
  if (limit === undefined) throw new InvalidArgumentError(`It takes ${EXPECTS_RATE}.`);
  return limit;
}

/** Not the whole key: its secret has no place in the history of a shell. */
function idArgument(text: string, earlier: string[] = []): string[] {
  if (!/^[0-9a-f]{16}$/.test(text))
    throw new InvalidArgumentError("It takes the 16 characters between hg_ and the next _ of a key.");
  return [...earlier, text];
}

function userArgument(text: string): string {
  if (!isShort(text)) throw new InvalidArgumentError(`It takes ${EXPECTS_USER}.`);
  return text;
}

function countArgument(text: string): number {
  if (!/^[1-9]\d{0,3}$|^10000$/.test(text))
    throw new InvalidArgumentError("It takes a number from 1 to 10000.");
  return Number(text);
}

function secondsArgument(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("It takes a number of seconds.");
  return Number(text);
}

/** The first is the default. */
function oneOf(flags: string, description: string, choices: readonly string[]): Option {
  return new Option(flags, description).choices(choices).default(choices[0]);
}

/** Of commands whose exit code 1 says something else. */
function exitWithUsage({ exitCode }: CommanderError): never {
  process.exit(exitCode === 0 ? 0 : 2);
}

function webUrlArgument(text: string): URL {
  const url = webUrl(text);
  if (url === undefined) throw new InvalidArgumentError("It takes a URL such as https://example.com/page.");
  return url;
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

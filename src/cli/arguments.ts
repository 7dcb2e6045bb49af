/** Arguments and options shared by commands. */
import { Value } from "@sinclair/typebox/value";
import { type Command, InvalidArgumentError, Option } from "commander";
import { TimeZone } from "../domain/time-zone.ts";
import { EventObjectSchema } from "../protocol/event/object-rules.ts";
import { expectedTime, timeOf } from "../protocol/time-text.ts";
import { readConfig, settingsHelp } from "../settings/read-config.ts";
import type { Config } from "../settings/settings.ts";
import { exitCodeAfterOutput } from "./shared/output.ts";

const UTC = TimeZone.named("UTC")!;

export const EXPECTS_TIME_ARGUMENT = "2026-01-31, 2026-01-31T12:30 (UTC, if no offset is given), or ms since the epoch";
export const EXPECTS_HOUR_ARGUMENT = "2026-01-31T12 (UTC, if no offset is given), or ms since the epoch";
export const URL_HELP = "URL of the service (default: the one on this machine, at HOST and PORT)";

/** Ends the process with the exit code that `work` returns, or 2 if its output could not be written. */
export function exitWith<Args extends unknown[]>(
  work: (config: Config, ...args: Args) => number | Promise<number>,
): (...args: Args) => Promise<void> {
  return async (...args) => process.exit(exitCodeAfterOutput(await work(readConfig(process.env), ...args)));
}

/** Lists the settings below the command's options, wrapped to the terminal. */
export function addSettingsHelp(command: Command): Command {
  return command.addHelpText("after", () => {
    const help = command.createHelp();
    help.helpWidth = command.configureOutput().getOutHelpWidth?.() ?? 80;
    const settings = settingsHelp((name, width, description) => help.formatItem(name, width, description, help));
    return `\nSettings, from the environment (default; range)\n\n${settings}`;
  });
}

export function timeArgument(text: string): number {
  return timeOrError(text, EXPECTS_TIME_ARGUMENT);
}

/** Any time within the hour. Refuses a day, which would mean its first hour only. */
export function hourArgument(text: string): number {
  if (/^\d{4}-\d\d-\d\d$/.test(text))
    throw new InvalidArgumentError(`This is a day. Expected one of its hours, such as ${text}T00 (UTC).`);
  return timeOrError(text, EXPECTS_HOUR_ARGUMENT);
}

function timeOrError(text: string, expected: string): number {
  const at = timeOf(text, UTC);
  if (at === undefined) throw new InvalidArgumentError(`Expected ${expectedTime(text, expected)}.`);
  return at;
}

/** Returns it without a trailing slash. */
export function urlArgument(text: string): string {
  const url = URL.parse(text);
  const isPlain = url !== null && [url.search, url.hash, url.username, url.password].join("") === "";
  if (!isPlain || !/^https?:$/.test(url.protocol))
    throw new InvalidArgumentError("Expected a URL such as http://127.0.0.1:7777.");
  return url.href.replace(/\/+$/, "");
}

export function streamArgument(text: string): string {
  const { stream } = EventObjectSchema.properties;
  if (!Value.Check(stream, text)) throw new InvalidArgumentError(`Expected ${stream.description}.`);
  return text;
}

export function secondsArgument(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("Expected a number of seconds.");
  return Number(text);
}

export function oneOf(flags: string, description: string, choices: readonly string[]): Option {
  return new Option(flags, description).choices(choices).default(choices[0]);
}

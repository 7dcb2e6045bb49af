/** `hourglass verify`: compares the hot store, the aggregates and the rows of each hour. */
import type { Command } from "commander";
import { HOUR_MS, type HourKey, hourKeyName, hourOf } from "../domain/event.ts";
import { ALL_STREAMS, selectionOf } from "../domain/stream-rules.ts";
import { type HourVerdict, knowsHour, verifyHour } from "../pipeline/upkeep/verify.ts";
import type { Config } from "../settings/settings.ts";
import { EXPECTS_HOUR_ARGUMENT, exitWith, hourArgument, streamArgument } from "./arguments.ts";
import { amount } from "./shared/amounts.ts";
import { print } from "./shared/output.ts";
import { type OpenStores, withStores } from "./shared/with-stores.ts";

interface VerifyCommandOptions {
  /** Any time within the hour, in ms since the epoch; undefined: all hours. */
  readonly hour: number | undefined;
  readonly stream: string | undefined;
  readonly repair: boolean;
  readonly json: boolean;
}

export function addVerify(program: Command): void {
  program
    .command("verify")
    .description("compare the hot store, the aggregates and the rows of hours; exits with 1 if some differ")
    .option("--hour <time>", `only this hour: ${EXPECTS_HOUR_ARGUMENT}`, hourArgument)
    .option("--stream <name>", "only this stream", streamArgument)
    .option("--repair", "rebuild wrong aggregates from the rows", false)
    .option("--json", "one JSON object per line", false)
    .action(exitWith(verify));
}

/** Returns the exit code: 0 if all hours agree or were repaired. */
async function verify(config: Config, options: VerifyCommandOptions): Promise<number> {
  return await withStores(config, async (stores) => {
    const { hotShards, cold } = stores;
    const shards = config.redisShards;
    let [checked, wrong] = [0, 0];
    for (const key of await chosenHours(options, stores)) {
      for (let shard = 0; shard < shards; shard++) {
        const hot = hotShards?.[shard];
        const verdict = await verifyHour({ hot, cold, shard, isRepairing: options.repair }, key);
        if (!knowsHour(verdict)) continue;
        checked += 1;
        if (verdict.differences.length > verdict.repairs.length) wrong += 1;
        print(options.json ? JSON.stringify(verdict) : verdictText(verdict, shards));
      }
    }
    const isNone = checked === 0 && (options.hour !== undefined || options.stream !== undefined);
    if (!options.json) print(isNone ? noHourText(options) : summaryText(checked, wrong, shards, options));
    else if (isNone) console.error(noHourText(options));
    const pending = options.json ? undefined : await stores.pendingText();
    if (pending !== undefined) print(pending);
    return wrong === 0 ? 0 : 1;
  });
}

/** For the output, since a misspelled stream must not look like one without differences. */
function noHourText({ hour, stream }: VerifyCommandOptions): string {
  const time = hour === undefined ? "" : ` ${new Date(hour).toISOString().slice(0, 13)}`;
  const place = stream === undefined ? "of any stream" : `of the stream ${stream}`;
  return `There is no hour${time} ${place}: nothing was compared`;
}

function summaryText(checked: number, wrong: number, shards: number, { repair }: VerifyCommandOptions): string {
  const what =
    shards === 1 ? amount(checked, "hour") : `${amount(checked, "part")} of hours in ${amount(shards, "shard")}`;
  return `${what}, ${wrong} of them ${repair ? "still " : ""}wrong`;
}

/** Also hours that only a hot store holds, for instance because something else deleted their rows. */
async function chosenHours(
  { hour, stream }: VerifyCommandOptions,
  { hotShards = [], cold }: OpenStores,
): Promise<Iterable<HourKey>> {
  if (hour !== undefined && stream !== undefined) return [{ stream, hour: hourOf(hour) }];
  const [from, to] = hour === undefined ? [0, Number.MAX_SAFE_INTEGER] : [hourOf(hour), hourOf(hour) + HOUR_MS];
  const ofCold = (await cold.hourKeys()).filter((key) => {
    return key.hour >= from && key.hour < to && (stream === undefined || key.stream === stream);
  });
  const chosen = new Map(ofCold.map((key) => [hourKeyName(key.stream, key.hour), key]));
  const range = { from, to, streams: selectionOf(stream ?? ALL_STREAMS) };
  for (const hot of hotShards) {
    await hot.readRange(range, (held) => {
      const name = hourKeyName(held.stream, held.hour);
      if (held.clicks + held.impressions > 0 && !chosen.has(name)) {
        chosen.set(name, { stream: held.stream, hour: held.hour });
      }
    });
  }
  return chosen.values();
}

function countsText({ rows, aggregate }: HourVerdict): string {
  const { clicks = 0, impressions = 0, uniqueUsers = 0 } = rows === "not kept" ? (aggregate ?? {}) : rows;
  const counts = [amount(clicks, "click"), amount(impressions, "impression"), amount(uniqueUsers, "user")].join(", ");
  return rows === "not kept" ? `${counts}: its rows are not retained` : counts;
}

function verdictText(verdict: HourVerdict, shards: number): string {
  const { stream, hour, shard, deadLetters, erased, unflushed, differences, repairs } = verdict;
  const erasedRows = erased.clicks + erased.impressions;
  const notes = [
    countsText(verdict),
    ...(erasedRows > 0 ? [`${amount(erasedRows, "row")} erased`] : []),
    ...(deadLetters > 0 ? [amount(deadLetters, "dead letter")] : []),
    ...(unflushed > 0 ? [`${unflushed} not flushed yet`] : []),
  ];
  const place = `${stream}${shards === 1 ? "" : `, shard ${shard}`}`;
  const head = `${new Date(hour).toISOString().slice(0, 13)} ${place}: ${notes.join(", ")}`;
  const problems = differences.map((difference) => `  WRONG     ${difference}`);
  const done = repairs.map((repair) => `  REPAIRED  ${repair}`);
  return [head, ...problems, ...done].join("\n");
}

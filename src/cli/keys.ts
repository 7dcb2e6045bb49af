/** `hourglass keys`: creates, lists and revokes API keys in the cold store, whether or not a service is running. */
import { randomBytes } from "node:crypto";
import { type Command, InvalidArgumentError } from "commander";
import { type ApiKey, EXPECTS_ID, isKeyId, newToken, SCOPES, type Scope } from "../domain/api-key.ts";
import { EXPECTS_RATE, type RateLimit, rateLimitOf, rateLimitText } from "../domain/rate-limit.ts";
import { EXPECTS_STREAM_GRANT, isStreamGrant } from "../domain/stream-rules.ts";
import type { Config } from "../settings/settings.ts";
import { EXPECTS_TIME_ARGUMENT, exitWith, timeArgument } from "./arguments.ts";
import { amount } from "./shared/amounts.ts";
import { print } from "./shared/output.ts";
import { requireData, withColdStore } from "./shared/with-stores.ts";

interface KeyOptions {
  readonly name: string;
  readonly scope: readonly Scope[];
  /** Undefined: all. */
  readonly stream: readonly string[] | undefined;
  readonly expires: number | undefined;
  readonly limit: RateLimit | undefined;
  readonly json: boolean;
}

/** Instances hold all keys in memory, and reload them every 2 seconds. */
const KEYS_MAX = 10_000;
/** Per key: its streams share one column. */
const KEY_STREAMS_MAX = 50;

export function addKeys(program: Command): void {
  const keys = program
    .command("keys")
    .description("API keys for the scopes in REQUIRE_KEYS; a running service notices changes within 5 seconds");
  keys
    .command("create")
    .description("create a key and show it once")
    .requiredOption("--name <name>", "who or what the key is for", nameArgument)
    .requiredOption("--scope <scopes>", `what it permits: some of ${SCOPES.join(", ")}`, scopesArgument)
    .option("--stream <streams>", "only these streams: names, or branches (shop.*)", streamsArgument)
    .option("--expires <time>", `expiry: ${EXPECTS_TIME_ARGUMENT}`, futureArgument)
    .option("--limit <rate>", "maximum of events and reads, such as 100/s, 1000/m, 5000/h", rateArgument)
    .option("--json", "print it as a JSON object", false)
    .action(
      exitWith((config, options: KeyOptions, command: Command) => {
        if (options.stream !== undefined && options.scope.includes("admin"))
          command.error("error: scope admin takes no --stream: ledger and metrics cover all streams");
        return createKey(config, options);
      }),
    );
  keys
    .command("list")
    .description("show all keys ever created, without their secrets")
    .option("--json", "one JSON object per line", false)
    .action(exitWith((config, { json }: { json: boolean }) => listKeys(config, json)));
  keys
    .command("revoke")
    .description("revoke keys; exits with 1 if one does not exist or was already revoked")
    .argument("<ids...>", "the first part of a key, as `list` shows it", idArgument)
    .option("--json", "one JSON object per line", false)
    .action(exitWith((config, ids: string[], { json }: { json: boolean }) => revokeKeys(config, ids, json)));
}

function nameArgument(text: string): string {
  // A control character could make a name look like another line of a list.
  if (!/^[^\p{C}]{1,100}$/u.test(text)) throw new InvalidArgumentError("Expected 1 to 100 characters.");
  return text;
}

function scopesArgument(text: string, earlier: Scope[] = []): Scope[] {
  const found = text.split(",").map((name) => SCOPES.find((scope) => scope === name.trim()));
  if (found.includes(undefined)) throw new InvalidArgumentError(`Expected some of ${SCOPES.join(", ")}.`);
  return [...new Set([...earlier, ...(found as Scope[])])];
}

function streamsArgument(text: string, earlier: string[] = []): string[] {
  const found = text.split(",").map((pattern) => pattern.trim());
  const all = [...new Set([...earlier, ...found])];
  if (!found.every(isStreamGrant)) throw new InvalidArgumentError(`Expected ${EXPECTS_STREAM_GRANT}.`);
  if (all.length > KEY_STREAMS_MAX)
    throw new InvalidArgumentError(`Expected at most ${KEY_STREAMS_MAX}: use a branch, such as shop.*`);
  return all;
}

function futureArgument(text: string): number {
  const at = timeArgument(text);
  if (at <= Date.now()) throw new InvalidArgumentError("Expected a time in the future.");
  return at;
}

function rateArgument(text: string): RateLimit {
  const limit = rateLimitOf(text);
  if (limit === undefined) throw new InvalidArgumentError(`Expected ${EXPECTS_RATE}.`);
  return limit;
}

/** Takes only the id, so that the secret stays out of the shell's history. */
function idArgument(text: string, earlier: string[] = []): string[] {
  if (!isKeyId(text)) throw new InvalidArgumentError(`Expected a key's id: ${EXPECTS_ID}.`);
  return [...earlier, text];
}

async function createKey(config: Config, options: KeyOptions): Promise<number> {
  const { name, scope, stream = [], expires, limit, json } = options;
  const { id, token, sha256 } = newToken(randomBytes);
  const now = Date.now();
  const terms = { id, sha256, name, scopes: scope, streams: stream, limit };
  const key: ApiKey = { ...terms, createdAt: now, expiresAt: expires, revokedAt: undefined };
  const isAdded = await withColdStore(config, async (cold) => {
    const keys = await cold.apiKeys();
    if (keys.filter((known) => stateOf(known, now) === "valid").length >= KEYS_MAX) return false;
    await cold.addApiKey(key);
    return true;
  });
  if (!isAdded) {
    console.error(`There are ${amount(KEYS_MAX, "valid key")}, the maximum: revoke some that are not used`);
    return 1;
  }
  const text = json
    ? JSON.stringify({ key: token, ...shown(key, now) })
    : `${keyText(key, now)}\n\n  ${token}\n\nIt is not shown again.`;
  return print(text) ? 0 : await revokeUnseen(config, id);
}

/** Returns the exit code. */
async function revokeUnseen(config: Config, id: string): Promise<number> {
  try {
    await withColdStore(config, (cold) => cold.revokeApiKey(id, Date.now()));
    console.error(`The key could not be shown, so it was revoked: ${id}`);
  } catch (error) {
    console.error(`The key could not be shown: run 'hourglass keys revoke ${id}', since that failed too:`);
    throw error;
  }
  return 2;
}

async function listKeys(config: Config, isJson: boolean): Promise<number> {
  requireData(config);
  const keys = await withColdStore(config, (cold) => cold.apiKeys());
  const now = Date.now();
  for (const key of keys) print(isJson ? JSON.stringify(shown(key, now)) : keyText(key, now));
  if (!isJson) print(amount(keys.length, "key"));
  return 0;
}

async function revokeKeys(config: Config, ids: readonly string[], isJson: boolean): Promise<number> {
  requireData(config);
  let revokedCount = 0;
  await withColdStore(config, async (cold) => {
    for (const id of ids) {
      const isRevoked = await cold.revokeApiKey(id, Date.now());
      if (isRevoked) revokedCount += 1;
      if (isJson) print(JSON.stringify({ id, revoked: isRevoked }));
      else print(isRevoked ? `${id}: revoked` : `${id}: no such key, or already revoked`);
    }
  });
  return revokedCount === ids.length ? 0 : 1;
}

function stateOf({ revokedAt, expiresAt }: ApiKey, now: number): "valid" | "revoked" | "expired" {
  if (revokedAt !== undefined) return "revoked";
  return expiresAt !== undefined && expiresAt <= now ? "expired" : "valid";
}

function shown(key: ApiKey, now: number) {
  const { id, name, scopes, streams, limit, createdAt, expiresAt, revokedAt } = key;
  return {
    ...{ id, name, scopes, streams },
    limit: limit === undefined ? null : rateLimitText(limit),
    createdAt: timeText(createdAt),
    expiresAt: timeText(expiresAt),
    revokedAt: timeText(revokedAt),
    state: stateOf(key, now),
  };
}

function keyText(key: ApiKey, now: number): string {
  const { id, name, scopes, streams, limit, createdAt, expiresAt, state } = shown(key, now);
  const terms = [
    scopes.join(", "),
    streams.length === 0 ? "all streams" : streams.join(", "),
    limit ?? "no limit",
    `created ${createdAt}`,
    ...(expiresAt === null ? [] : [`${state === "expired" ? "expired" : "expires"} ${expiresAt}`]),
    ...(key.revokedAt === undefined ? [] : [`REVOKED ${timeText(key.revokedAt)}`]),
  ];
  return `${id}  ${JSON.stringify(name)}  ${terms.join("; ")}`;
}

function timeText(at: number | undefined): string | null {
  return at === undefined ? null : new Date(at).toISOString();
}

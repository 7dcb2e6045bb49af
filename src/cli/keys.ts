/** `hourglass keys`: API keys are made, listed and revoked in the cold store, beside a service that runs or not. */
import { randomBytes } from "node:crypto";
import { type ApiKey, newToken, type Scope } from "../domain/api-key.ts";
import { type RateLimit, rateLimitText } from "../domain/rate-limit.ts";
import type { Config } from "../settings/settings.ts";
import { withColdStore } from "./stores/with-stores.ts";

export interface KeyOptions {
  readonly name: string;
  readonly scope: readonly Scope[];
  /** Undefined: all. */
  readonly stream: readonly string[] | undefined;
  readonly expires: number | undefined;
  readonly limit: RateLimit | undefined;
  readonly json: boolean;
}

/** Instances have all of them in memory, and read them every other second. */
const KEYS_MAX = 10_000;

/** Each command answers the exit code. The key's secret is shown here, and never again. */
export async function createKey(config: Config, options: KeyOptions): Promise<number> {
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
    console.error(`There are ${KEYS_MAX} keys, and there may not be more: revoke some that are not used`);
    return 1;
  }
  if (json) console.log(JSON.stringify({ key: token, ...shown(key, now) }));
  else console.log(`${keyText(key, now)}\n\n  ${token}\n\nThis is the only time that it is shown.`);
  return 0;
}

export async function listKeys(config: Config, isJson: boolean): Promise<number> {
  const keys = await withColdStore(config, (cold) => cold.apiKeys());
  const now = Date.now();
  for (const key of keys) console.log(isJson ? JSON.stringify(shown(key, now)) : keyText(key, now));
  if (!isJson) console.log(`${keys.length} keys`);
  return 0;
}

export async function revokeKeys(config: Config, ids: readonly string[], isJson: boolean): Promise<number> {
  let revokedCount = 0;
  await withColdStore(config, async (cold) => {
    for (const id of ids) {
      const isRevoked = await cold.revokeApiKey(id, Date.now());
      if (isRevoked) revokedCount += 1;
      if (isJson) console.log(JSON.stringify({ id, revoked: isRevoked }));
      else
        console.log(isRevoked ? `${id}: revoked` : `${id}: there is no such key, or it was revoked before`);
    }
  });
  return revokedCount === ids.length ? 0 : 1;
}

function stateOf({ revokedAt, expiresAt }: ApiKey, now: number): "valid" | "revoked" | "expired" {
  if (revokedAt !== undefined) return "revoked";
  return expiresAt !== undefined && expiresAt <= now ? "expired" : "valid";
}

/** All but the hash. */
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
    `made ${createdAt}`,
    ...(expiresAt === null ? [] : [`${state === "expired" ? "expired" : "expires"} ${expiresAt}`]),
    ...(key.revokedAt === undefined ? [] : [`REVOKED ${timeText(key.revokedAt)}`]),
  ];
  return `${id}  ${JSON.stringify(name)}  ${terms.join("; ")}`;
}

function timeText(at: number | undefined): string | null {
  return at === undefined ? null : new Date(at).toISOString();
}

/** API keys and rate limits of a running service, if its settings require any. */
import { Access } from "../../http/access/access.ts";
import { KeyRing } from "../../http/access/key-ring.ts";
import { RateLimiter } from "../../http/access/rate-limiter.ts";
import type { ClientAddresses } from "../../http/requests/client-address.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Config } from "../../settings/settings.ts";
import type { ColdConnection, KeyStore } from "../../store/cold.ts";
import { createAccessStore } from "../../store/open.ts";

interface RunningAccess {
  readonly access: Access;
  /** Resolves once the keys were read, or could not be. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Undefined if no setting restricts access. */
export async function createAccess(
  config: Config,
  cold: KeyStore & Pick<ColdConnection, "open">,
  log: Log,
  clock: Clock,
  addresses: ClientAddresses,
): Promise<RunningAccess | undefined> {
  const { requiredScopes = [], addressLimit } = config;
  const asksForKeys = requiredScopes.length > 0;
  if (!asksForKeys && addressLimit === undefined) return undefined;
  const store = await createAccessStore(config);
  const nowMs = clock.monotonicMs;
  const keys = new KeyRing({ cold, store, log, clock });
  const keyLimits = new RateLimiter({ kind: "key", store, log, nowMs });
  const addressLimits = new RateLimiter({ kind: "address", store, log, nowMs });
  const options = { keys, keyLimits, addressLimits, addressLimit, addresses };
  return {
    access: new Access({ ...options, requiredScopes: new Set(requiredScopes) }),
    start: async () => {
      if (asksForKeys) await keys.start();
    },
    stop: async () => {
      await Promise.all([keys.stop(), keyLimits.stop(), addressLimits.stop()]);
      await store?.close();
    },
  };
}

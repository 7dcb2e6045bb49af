/**
 * The API keys in memory, refreshed from the cold store every KEYS_INTERVAL_MS.
 *
 * Invariants: no request waits for a store. While the cold store is unavailable, the known keys remain in force; an
 * instance that starts then uses the copy that others left in the hot store. Until then, no key is called invalid.
 */
import { timingSafeEqual } from "node:crypto";
import { type ApiKey, idIn, type Scope } from "../../domain/api-key.ts";
import type { RateLimit } from "../../domain/rate-limit.ts";
import { StreamSet } from "../../domain/stream-rules.ts";
import { type RecurringTask, recurringTask } from "../../pipeline/recurring-task.ts";
import { type Clock, withDeadline } from "../../runtime/clock.ts";
import { errorText } from "../../runtime/error-text.ts";
import type { Log } from "../../runtime/log.ts";
import type { AccessStore } from "../../store/access-store.ts";
import type { ColdConnection, KeyStore } from "../../store/cold.ts";

/** A key that is not revoked. */
export interface KnownKey {
  readonly id: string;
  readonly sha256: Uint8Array;
  readonly scopes: ReadonlySet<Scope>;
  /** Undefined: all. */
  readonly streams: StreamSet | undefined;
  readonly limit: RateLimit | undefined;
  readonly expiresAt: number;
}

interface KeyRingOptions {
  readonly cold: KeyStore & Pick<ColdConnection, "open">;
  /** Undefined in embedded mode, where the cold store is always available. */
  readonly store: AccessStore | undefined;
  readonly log: Log;
  readonly clock: Clock;
}

/** A revoked key is accepted for up to this long, plus the duration of the refresh. */
const KEYS_INTERVAL_MS = 2_000;
/** A cold store that does not answer must not delay the start. */
const START_TIMEOUT_MS = 2_000;
/** The copy is rewritten after this time, since the hot store may have lost it. */
const COPY_INTERVAL_MS = 60_000;
const SHA256_BYTES = 32;

export class KeyRing {
  readonly #options: KeyRingOptions;
  readonly #task: RecurringTask;
  /** Stands in for a missing key, so that an unknown id takes as long as a wrong secret. */
  readonly #nobody = new Uint8Array(SHA256_BYTES);
  readonly #digest = new Uint8Array(SHA256_BYTES);
  #keys: ReadonlyMap<string, KnownKey> | undefined;
  #copied = { text: "", at: Number.NEGATIVE_INFINITY };

  constructor(options: KeyRingOptions) {
    this.#options = options;
    const { log, clock } = options;
    this.#task = recurringTask("read the API keys", KEYS_INTERVAL_MS, log, clock, () => this.refresh());
  }

  async start(): Promise<void> {
    const { log } = this.#options;
    const silent = () => new Error(`the cold store did not answer within ${START_TIMEOUT_MS} ms`);
    await withDeadline(this.refresh(), START_TIMEOUT_MS, silent).catch((error) =>
      log.warn({ error: errorText(error), hasCopy: this.isKnown }, "could not read the API keys"),
    );
    if (!this.isKnown) await this.#takeCopy();
    this.#task.start();
  }

  get isKnown(): boolean {
    return this.#keys !== undefined;
  }

  find(token: string): KnownKey | undefined {
    const key = this.#keys?.get(idIn(token));
    Bun.SHA256.hash(token, this.#digest);
    const isSame = timingSafeEqual(this.#digest, key?.sha256 ?? this.#nobody);
    return isSame && key !== undefined && this.#options.clock.now() < key.expiresAt ? key : undefined;
  }

  /** False once a key that was found is revoked or expired. */
  isGood({ id }: KnownKey): boolean {
    const key = this.#keys?.get(id);
    return key !== undefined && this.#options.clock.now() < key.expiresAt;
  }

  /** Throws ColdUnavailableError. */
  async refresh(): Promise<void> {
    const { cold } = this.#options;
    try {
      await cold.open();
      const keys = (await cold.apiKeys()).filter(({ revokedAt }) => revokedAt === undefined);
      this.#take(keys);
      await this.#leaveCopy(keys);
    } catch (error) {
      if (!this.isKnown) await this.#takeCopy();
      throw error;
    }
  }

  #take(keys: readonly ApiKey[]): void {
    this.#keys = new Map(keys.map((key) => [key.id, knownKey(key)]));
  }

  /** Never rejects: the next refresh tries again. */
  async #leaveCopy(keys: readonly ApiKey[]): Promise<void> {
    const { store, clock } = this.#options;
    if (store === undefined) return;
    const text = JSON.stringify(keys);
    const at = clock.now();
    if (text === this.#copied.text && at - this.#copied.at < COPY_INTERVAL_MS) return;
    await store.keepKeys(keys).then(
      () => {
        this.#copied = { text, at };
      },
      () => {},
    );
  }

  async #takeCopy(): Promise<void> {
    const copy = await this.#options.store?.keptKeys().catch(() => undefined);
    if (copy !== undefined && !this.isKnown) this.#take(copy);
  }

  stop(): Promise<void> {
    return this.#task.stop();
  }
}

function knownKey({ id, sha256, scopes, streams, limit, expiresAt }: ApiKey): KnownKey {
  return {
    ...{ id, limit },
    sha256: Buffer.from(sha256, "hex"),
    scopes: new Set(scopes),
    streams: streams.length === 0 ? undefined : new StreamSet(streams),
    expiresAt: expiresAt ?? Number.POSITIVE_INFINITY,
  };
}

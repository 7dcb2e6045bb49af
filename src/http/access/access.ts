/**
 * Admits a request by its API key and by the limits of the key and the address, or explains why not.
 *
 * Invariants: decisions are made from memory before the route runs, and a refused request has no effect. Without keys
 * and limits this is not created and costs nothing.
 */
import { Elysia } from "elysia";
import { isToken, type Scope } from "../../domain/api-key.ts";
import type { Ledger } from "../../domain/ledger.ts";
import type { RateLimit } from "../../domain/rate-limit.ts";
import type { RefusalReason } from "../../domain/refusal-reasons.ts";
import type { StreamSet } from "../../domain/stream-rules.ts";
import type { RequestCounts } from "../../runtime/metrics.ts";
import type { AccessStore } from "../../store/access-store.ts";
import { type ClientAddresses, networkOf, type Peers } from "../requests/client-address.ts";
import {
  keyInvalidAnswer,
  keyMissingAnswer,
  keysUnknownAnswer,
  type LimitedBy,
  limitHeaders,
  rateLimitedAnswer,
  scopeMissingAnswer,
} from "./denials.ts";
import type { KeyRing, KnownKey } from "./key-ring.ts";
import type { Bucket, RateLimiter } from "./rate-limiter.ts";
import { accessOf } from "./route-scopes.ts";

interface AccessOptions {
  /** Scopes that require a key. For other scopes no key is checked. */
  readonly requiredScopes: ReadonlySet<Scope>;
  /** Shared by keys and limits. Undefined in embedded mode. */
  readonly store: AccessStore | undefined;
  readonly keys: KeyRing;
  readonly keyLimits: RateLimiter;
  readonly addressLimits: RateLimiter;
  readonly addressLimit: RateLimit | undefined;
  readonly addresses: ClientAddresses;
}

export interface Refused {
  readonly reason: Extract<RefusalReason, "unauthorized" | "rate_limited" | "cold_store_away">;
  readonly answer: Response;
}

interface Limited {
  readonly by: LimitedBy;
  readonly limiter: RateLimiter;
  readonly bucket: Bucket;
}

interface Admitted {
  readonly key: KnownKey | undefined;
  readonly limits: readonly Limited[];
}

const SCHEME = /^Bearer +/i;

export class Access {
  readonly #options: AccessOptions;
  readonly #admitted = new WeakMap<Request, Admitted>();

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /** Resolves once the keys were read, if any are required, or the attempt failed. */
  async start(): Promise<void> {
    if (this.#options.requiredScopes.size > 0) await this.#options.keys.start();
  }

  async stop(): Promise<void> {
    const { keys, keyLimits, addressLimits, store } = this.#options;
    await Promise.all([keys.stop(), keyLimits.stop(), addressLimits.stop()]);
    await store?.close();
  }

  /** Undefined if the request is admitted, which takes one from each limit. */
  refusalOf(request: Request, route: string, peers: Peers | null): Refused | undefined {
    const access = accessOf(request.method, route);
    if (access === "open" || access === "redirect") return undefined;
    const limits: Limited[] = [];
    // The address first, so that guessing keys is limited too. Monitoring continues while an address is limited.
    const byAddress = access === "admin" ? undefined : this.#refusalByAddress(request, peers, limits);
    if (byAddress !== undefined) return byAddress;
    const scope = access === "browser" ? undefined : this.#requiredScope(access);
    const key = scope && this.#keyFor(request, scope);
    if (key !== undefined && "answer" in key) return key;
    const byKey = this.#refusalByLimitOf(key, limits);
    if (byKey !== undefined) return byKey;
    if (limits.length > 0 || key !== undefined) this.#admitted.set(request, { key, limits });
    return undefined;
  }

  #requiredScope(access: Scope | "unlisted"): Scope | undefined {
    const { requiredScopes } = this.#options;
    if (access === "unlisted") return requiredScopes.size > 0 ? "admin" : undefined;
    return requiredScopes.has(access) ? access : undefined;
  }

  #keyFor(request: Request, scope: Scope): KnownKey | Refused {
    const { keys } = this.#options;
    if (!keys.isKnown) return { reason: "cold_store_away", answer: keysUnknownAnswer() };
    const given = request.headers.get("authorization");
    if (given === null) return { reason: "unauthorized", answer: keyMissingAnswer() };
    const token = given.replace(SCHEME, "");
    const key = token !== given && isToken(token) ? keys.find(token) : undefined;
    if (key === undefined) return { reason: "unauthorized", answer: keyInvalidAnswer() };
    if (key.scopes.has(scope)) return key;
    return { reason: "unauthorized", answer: scopeMissingAnswer(scope, key.scopes) };
  }

  #refusalByAddress(request: Request, peers: Peers | null, limits: Limited[]): Refused | undefined {
    const { addressLimit, addresses } = this.#options;
    if (addressLimit === undefined) return undefined;
    const address = addresses.of(request, peers);
    if (address === undefined) return undefined;
    return refusalByOne(this.#limitedAddress(address, addressLimit), limits);
  }

  #limitedAddress(address: string, limit: RateLimit): Limited {
    const { addressLimits: limiter } = this.#options;
    return { by: "address", limiter, bucket: limiter.bucket(networkOf(address), limit) };
  }

  #refusalByLimitOf(key: KnownKey | undefined, limits: Limited[]): Refused | undefined {
    if (key?.limit === undefined) return undefined;
    const { keyLimits: limiter } = this.#options;
    return refusalByOne({ by: "key", limiter, bucket: limiter.bucket(key.id, key.limit) }, limits);
  }

  keyIdOf(request: Request): string | undefined {
    return this.#admitted.get(request)?.key?.id;
  }

  /** The streams that the request's key is limited to; undefined: all. */
  streamsOf(request: Request): StreamSet | undefined {
    return this.#admitted.get(request)?.key?.streams;
  }

  /** Asked again while an answer is streamed: false once the key is revoked or expired. */
  isStillAdmitted(request: Request): boolean {
    const key = this.#admitted.get(request)?.key;
    return key === undefined || this.#options.keys.isGood(key);
  }

  addLimitHeaders(request: Request, headers: Headers): void {
    const { limits = [] } = this.#admitted.get(request) ?? {};
    // A refusal already has the headers of its own limit.
    if (limits.length === 0 || headers.has("ratelimit")) return;
    const states = limits.map(({ by, limiter, bucket }) => ({ by, bucket, state: limiter.stateOf(bucket) }));
    for (const [name, value] of Object.entries(limitHeaders(states))) headers.set(name, value);
  }

  /** Undefined if a request with this many events is admitted. */
  refusalOfBatch(request: Request, eventCount: number): Refused | undefined {
    const { limits } = this.#admitted.get(request) ?? { limits: [] };
    // One was taken when the request was admitted.
    const more = eventCount - 1;
    if (more < 1) return undefined;
    const overdrawn = limits.find(({ limiter, bucket }) => limiter.isOverdrawn(bucket));
    if (overdrawn !== undefined) return limitRefusal(overdrawn);
    for (const { limiter, bucket } of limits) limiter.take(bucket, more);
    return undefined;
  }

  /** Whether the click of a redirect counts; the redirect itself works even beyond the limit. */
  takesFrom(address: string | undefined): boolean {
    const { addressLimit } = this.#options;
    if (addressLimit === undefined || address === undefined) return true;
    const { limiter, bucket } = this.#limitedAddress(address, addressLimit);
    return limiter.takeOne(bucket);
  }
}

function refusalByOne(limited: Limited, limits: Limited[]): Refused | undefined {
  limits.push(limited);
  return limited.limiter.takeOne(limited.bucket) ? undefined : limitRefusal(limited);
}

function limitRefusal({ by, limiter, bucket }: Limited): Refused {
  return { reason: "rate_limited", answer: rateLimitedAnswer(by, bucket, limiter.stateOf(bucket)) };
}

/** Runs before all routes. The ledger counts each refused request as one refused event. */
export function accessControl(access: Access, ledger: Ledger, requestCounts: readonly RequestCounts[]) {
  const countsByRoute = new Map(requestCounts.map((counts) => [`${counts.method} ${counts.route}`, counts]));
  // No expression here may look like a promise: Elysia would await it.
  return new Elysia({ name: "access-control" })
    .onBeforeHandle({ as: "global" }, ({ request, route, server }) => {
      const refused = access.refusalOf(request, route, server);
      if (refused === undefined) return;
      const { answer } = refused;
      countsByRoute.get(`${request.method} ${route}`)?.add(answer.status);
      if (isEvent(request.method, route)) ledger.refused[refused.reason] += 1;
      return answer;
    })
    .onAfterHandle({ as: "global" }, ({ request, responseValue }) => {
      if (responseValue instanceof Response) access.addLimitHeaders(request, responseValue.headers);
    });
}

/** The body is not read, so it counts as one event. */
function isEvent(method: string, route: string): boolean {
  const access = accessOf(method, route);
  return method !== "HEAD" && (access === "write" || access === "browser");
}

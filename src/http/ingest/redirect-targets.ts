/**
 * The pages that /r may redirect to.
 * Invariant: only pages that the owner of the service allowed, by origin or by signing target and stream. Otherwise the
 * service would be an open redirect.
 */
import { timingSafeEqual } from "node:crypto";
import { DEFAULT_STREAM, EXPECTS_STREAM, isStreamName } from "../../domain/stream-rules.ts";
import { InvalidParameterError } from "../../protocol/input-error.ts";
import { checkReadable, type Query, type QueryFaults } from "../../protocol/query-string.ts";
import type { Config } from "../../settings/settings.ts";

export const EXPECTS_TARGET = "an absolute URL, http or https, percent-encoded";

type RedirectSettings = Pick<Config, "redirectOrigins" | "redirectSecret">;

/** Signs a JSON array, which is unambiguous. */
export function signatureOf(secret: string, target: string, stream = DEFAULT_STREAM): string {
  return new Bun.CryptoHasher("sha256", secret).update(JSON.stringify([stream, target])).digest("base64url");
}

/** Undefined if it is not an http(s) URL. */
export function webUrl(text: string): URL | undefined {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) ? url : undefined;
}

export class RedirectTargets {
  readonly #secret: string | undefined;
  readonly #origins: ReadonlySet<string>;

  constructor({ redirectSecret, redirectOrigins = [] }: RedirectSettings) {
    this.#secret = redirectSecret;
    this.#origins = new Set(redirectOrigins);
  }

  /**
   * The URL to redirect to; undefined if nothing allows it. `faults`: errors of the query. Throws MalformedQueryError
   * or InvalidParameterError.
   */
  allowed({ to, stream = DEFAULT_STREAM, sig = "" }: Query, faults: QueryFaults): string | undefined {
    checkReadable(faults, "to");
    const url = webUrl(to ?? "");
    if (to === undefined || url === undefined) {
      throw new InvalidParameterError("to", to ?? null, EXPECTS_TARGET);
    }
    // Returns the parsed form, since a browser might parse the original text differently.
    if (this.#origins.has(url.origin)) return url.href;
    checkReadable(faults, "stream", "sig");
    if (!isStreamName(stream)) throw new InvalidParameterError("stream", stream, EXPECTS_STREAM);
    return this.#isSigned(to, stream, sig) ? url.href : undefined;
  }

  #isSigned(target: string, stream: string, signature: string): boolean {
    if (this.#secret === undefined) return false;
    const expected = Buffer.from(signatureOf(this.#secret, target, stream));
    const got = Buffer.from(signature);
    return got.length === expected.length && timingSafeEqual(got, expected);
  }
}

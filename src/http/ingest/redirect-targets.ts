/**
 * Where /r may lead. Invariant: to no place that the owner of the service has not allowed, by its origin or by
 * a signature of this very target and stream: else any link could borrow the service's good name.
 */
import { timingSafeEqual } from "node:crypto";
import { InvalidParameterError } from "../../protocol/event-query.ts";
import { DEFAULT_STREAM } from "../../protocol/event-rules.ts";
import type { Query } from "../../protocol/query.ts";

export const EXPECTS_TARGET = "an absolute URL, http or https, percent-encoded";

export interface RedirectSettings {
  readonly redirectOrigins: readonly string[] | undefined;
  readonly redirectSecret: string | undefined;
}

/** No stream has a space in its name: what is signed can be read in one way alone. */
export function signatureOf(secret: string, target: string, stream = DEFAULT_STREAM): string {
  return new Bun.CryptoHasher("sha256", secret).update(`${stream} ${target}`).digest("base64url");
}

/** Undefined if it is not the URL of a web page. */
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

  /** The URL to send the browser to; undefined if nothing allows it. Throws InvalidParameterError. */
  allowed({ to, stream, sig }: Query): string | undefined {
    const url = webUrl(to ?? "");
    if (to === undefined || url === undefined) {
      throw new InvalidParameterError("to", to ?? null, EXPECTS_TARGET);
    }
    // As it was understood here, and not as it was written: nobody else shall understand it otherwise.
    return this.#origins.has(url.origin) || this.#isSigned(to, stream, sig ?? "") ? url.href : undefined;
  }

  #isSigned(target: string, stream: string | undefined, signature: string): boolean {
    if (this.#secret === undefined) return false;
    const expected = Buffer.from(signatureOf(this.#secret, target, stream));
    const got = Buffer.from(signature);
    return got.length === expected.length && timingSafeEqual(got, expected);
  }
}

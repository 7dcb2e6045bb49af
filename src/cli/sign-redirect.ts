/** `hourglass sign-redirect`: prints a link that counts a click and leads to a page that nobody else can change. */

import { signatureOf } from "../http/ingest/redirect-targets.ts";
import { type Config, ConfigError } from "../settings/settings.ts";
import { listeningUrl } from "./service/own-url.ts";

export interface SignRedirectOptions {
  readonly stream: string | undefined;
  /** Where browsers reach the service; undefined: where it listens. */
  readonly base: URL | undefined;
}

/** Throws ConfigError if there is nothing to sign with. */
export function signRedirect(config: Config, target: URL, { stream, base }: SignRedirectOptions): string {
  const { redirectSecret } = config;
  if (redirectSecret === undefined)
    throw new ConfigError(
      "REDIRECT_SECRET is not set, which links are signed with: set what the service has",
    );
  const origin = base?.href.replace(/\/$/, "") ?? listeningUrl(config);
  const parameters = new URLSearchParams({ to: target.href });
  if (stream !== undefined) parameters.set("stream", stream);
  parameters.set("sig", signatureOf(redirectSecret, target.href, stream));
  return `${origin}/r?${parameters}`;
}

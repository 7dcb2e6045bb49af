/** For a container, which has no curl: is the instance on this machine ready? */

import { errorText } from "../runtime/deadline.ts";
import type { Config } from "../settings/settings.ts";
import { ownUrl } from "./service/own-url.ts";

const TIMEOUT_MS = 2_000;

/** The exit code. */
export async function healthcheck(config: Config): Promise<number> {
  const url = `${ownUrl(config)}/readyz`;
  try {
    // Its certificate is for the name that others know it by. It is on this machine, and is told nothing.
    const tls = { rejectUnauthorized: false };
    const answer = await fetch(url, { tls, signal: AbortSignal.timeout(TIMEOUT_MS) });
    console.log(await answer.text());
    return answer.ok ? 0 : 1;
  } catch (error) {
    console.error(`Cannot ask ${url}: ${errorText(error)}`);
    return 1;
  }
}

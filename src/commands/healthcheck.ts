/** For a container, which has no curl: is the instance on this machine ready? */
import type { Config } from "../config.ts";
import { errorText } from "../count/deadline.ts";

const TIMEOUT_MS = 2_000;

/** The exit code. */
export async function healthcheck({ host, port }: Config): Promise<number> {
  const address = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  const url = `http://${address.includes(":") ? `[${address}]` : address}:${port}/readyz`;
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    console.log(await answer.text());
    return answer.ok ? 0 : 1;
  } catch (error) {
    console.error(`Cannot ask ${url}: ${errorText(error)}`);
    return 1;
  }
}

/**
 * `hourglass healthcheck`: checks whether the instance on this machine is ready. For containers, which have no curl.
 */
import type { Command } from "commander";
import { errorText } from "../runtime/error-text.ts";
import type { Config } from "../settings/settings.ts";
import { exitWith } from "./arguments.ts";
import { print } from "./shared/output.ts";
import { ServiceClient } from "./shared/service-client.ts";

const TIMEOUT_MS = 2_000;

export function addHealthcheck(program: Command): void {
  program
    .command("healthcheck")
    .description("exit with 0 if the instance on this machine is ready, else with 1")
    .action(exitWith(healthcheck));
}

async function healthcheck(config: Config): Promise<number> {
  // No API key is sent, since the certificate is not verified.
  const service = new ServiceClient({ ...config, apiKey: undefined });
  try {
    // The certificate names the public host, not this machine's address.
    const tls = { rejectUnauthorized: false };
    const answer = await service.ask("/readyz", { tls, signal: AbortSignal.timeout(TIMEOUT_MS) });
    print(await answer.text());
    return answer.ok ? 0 : 1;
  } catch (error) {
    console.error(`Cannot ask ${service.url}/readyz: ${errorText(error)}`);
    return 1;
  }
}

/** `hourglass sign-redirect`: prints a signed link that counts a click and leads to a page. */
import { type Command, InvalidArgumentError } from "commander";
import { signatureOf, webUrl } from "../http/ingest/redirect-targets.ts";
import { type Config, ConfigError } from "../settings/settings.ts";
import { exitWith, streamArgument } from "./arguments.ts";
import { print } from "./shared/output.ts";
import { listeningUrl } from "./shared/service-client.ts";

interface SignRedirectOptions {
  readonly stream: string | undefined;
  /** Where browsers reach the service; undefined: where it listens. */
  readonly base: URL | undefined;
}

export function addSignRedirect(program: Command): void {
  program
    .command("sign-redirect")
    .description("print a link that counts a click and leads to a page, signed with REDIRECT_SECRET")
    .argument("<url>", "the page", webUrlArgument)
    .option("--stream <name>", "the stream that the click counts in", streamArgument)
    .option("--base <url>", "where browsers reach the service, if not at HOST and PORT", baseArgument)
    .action(
      exitWith((config, url: URL, options: SignRedirectOptions) => {
        print(signRedirect(config, url, options));
        return 0;
      }),
    );
}

function webUrlArgument(text: string): URL {
  const url = webUrl(text);
  if (url === undefined) throw new InvalidArgumentError("Expected a URL such as https://example.com/page.");
  return url;
}

/** The link's path and query are appended to it. */
function baseArgument(text: string): URL {
  const url = webUrlArgument(text);
  if (/[?#]/.test(url.href))
    throw new InvalidArgumentError("Expected a URL without a query or fragment, such as https://count.example.");
  return url;
}

function signRedirect(config: Config, target: URL, { stream, base }: SignRedirectOptions): string {
  const { redirectSecret } = config;
  if (redirectSecret === undefined)
    throw new ConfigError("REDIRECT_SECRET is not set: set it to the service's secret, which signs the links");
  const origin = base?.href.replace(/\/$/, "") ?? listeningUrl(config);
  const parameters = new URLSearchParams({ to: target.href });
  if (stream !== undefined) parameters.set("stream", stream);
  parameters.set("sig", signatureOf(redirectSecret, target.href, stream));
  return `${origin}/r?${parameters}`;
}

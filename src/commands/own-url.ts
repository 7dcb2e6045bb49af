/** Where the instance on this machine answers, if it runs with the same settings. */
import type { Config } from "../config.ts";

type Listening = Pick<Config, "host" | "port" | "tlsCertFile">;

export function ownUrl({ host, port, tlsCertFile }: Listening): string {
  const address = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  const protocol = tlsCertFile === undefined ? "http" : "https";
  return `${protocol}://${address.includes(":") ? `[${address}]` : address}:${port}`;
}

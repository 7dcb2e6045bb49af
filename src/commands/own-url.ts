/** Where the instance on this machine answers, if it runs with the same settings. */
import type { Config } from "../config.ts";

export function ownUrl({ host, port, tlsCertFile }: Pick<Config, "host" | "port" | "tlsCertFile">): string {
  const address = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `${tlsCertFile === undefined ? "http" : "https"}://${address.includes(":") ? `[${address}]` : address}:${port}`;
}

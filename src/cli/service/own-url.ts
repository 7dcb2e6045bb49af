/** Where the instance on this machine answers, if it runs with the same settings. */
import type { Config } from "../../settings/settings.ts";

type Listening = Pick<Config, "host" | "port" | "tlsCertFile">;

export function ownUrl({ host, ...rest }: Listening): string {
  return listeningUrl({ host: host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host, ...rest });
}

/** With the address as it is set, also if that stands for all of this machine's. */
export function listeningUrl({ host, port, tlsCertFile }: Listening): string {
  const protocol = tlsCertFile === undefined ? "http" : "https";
  return `${protocol}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

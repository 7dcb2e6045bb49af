/** Parses URLs with several hosts, which `URL` can't: `user:password@host:port,host:port`. */
import { unescaped } from "./setting-kinds.ts";

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export interface Login {
  readonly username?: string;
  readonly password?: string;
}

export function hostsOf(text: string, defaultPort: number): HostPort[] | undefined {
  const hosts = text.split(",").map((entry) => {
    const { hostname = "", port = "" } = URL.parse(`redis://${entry.trim()}`) ?? {};
    return { host: withoutBrackets(hostname), port: port === "" ? defaultPort : Number(port) };
  });
  return hosts.every(({ host, port }) => host !== "" && port > 0) ? hosts : undefined;
}

export function withoutBrackets(hostname: string): string {
  return hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
}

export function hostText({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

export function loginOf(userInfo: string): Login | undefined {
  const colon = userInfo.indexOf(":");
  const username = unescaped(colon === -1 ? userInfo : userInfo.slice(0, colon));
  const password = unescaped(colon === -1 ? "" : userInfo.slice(colon + 1));
  if (username === undefined || password === undefined) return undefined;
  return { ...(username !== "" && { username }), ...(password !== "" && { password }) };
}

/**
 * REDIS_URL: one server, the nodes of a cluster, or Sentinels and their master's name.
 *
 *   redis://user:password@host:6379/0                  one server (or one node of a cluster, which is detected)
 *   unix:///run/redis.sock                             a server on this machine
 *   redis://user:password@host:7000,host:7001          any nodes of a cluster; the others are discovered
 *   redis+sentinel://user:password@host,host:26380/name   that master; ?sentinel_username=…&sentinel_password=…
 *
 * rediss:// and rediss+sentinel:// use TLS. User and password are given once, for all nodes.
 */
import { type HostPort, hostsOf, hostText, type Login, loginOf, withoutBrackets } from "./host-list.ts";
import { badEscapeIn, unescaped } from "./setting-kinds.ts";

export type RedisNode = HostPort;
export type RedisLogin = Login;

export interface RedisServerPlace {
  readonly kind: "server";
  readonly url: string;
}

export interface RedisClusterPlace {
  readonly kind: "cluster";
  readonly nodes: readonly RedisNode[];
  readonly login: RedisLogin;
  readonly isTls: boolean;
}

export interface RedisSentinelPlace {
  readonly kind: "sentinel";
  readonly nodes: readonly RedisNode[];
  readonly name: string;
  readonly login: RedisLogin;
  readonly sentinelLogin: RedisLogin;
  readonly isTls: boolean;
}

export type RedisPlace = RedisServerPlace | RedisClusterPlace | RedisSentinelPlace;

export const EXPECTS_REDIS_URL =
  "a URL such as redis://host:6379, redis://host:7000,host:7001 (nodes of a cluster), " +
  "redis+sentinel://host:26379,host:26380/name (Sentinels) or unix:///run/redis.sock";

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26379;
/** Protocol, user and password, hosts, path, query. */
const PARTS = /^(rediss?)(\+sentinel)?:\/\/(?:([^@/?#]*)@)?([^@/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/;
const SENTINEL_PARAMETERS = ["sentinel_username", "sentinel_password"];

export function redisPlaceOf(text: string): RedisPlace | undefined {
  if (text.startsWith("unix:")) return socketPlaceOf(text);
  const [, protocol, sentinel, userInfo = "", hosts = "", path = "", query = ""] = PARTS.exec(text) ?? [];
  if (protocol === undefined) return undefined;
  if (sentinel === undefined && !hosts.includes(",")) return serverPlaceOf(text);
  const isTls = protocol === "rediss";
  const nodes = hostsOf(hosts, sentinel === undefined ? REDIS_PORT : SENTINEL_PORT);
  const login = loginOf(userInfo);
  if (nodes === undefined || login === undefined) return undefined;
  if (sentinel !== undefined) {
    const name = unescaped(path);
    const sentinelLogin = sentinelLoginOf(query);
    if (!name || name.includes("/") || sentinelLogin === undefined) return undefined;
    return { kind: "sentinel", nodes, name, login, sentinelLogin, isTls };
  }
  // A cluster has one database.
  return (path === "" || path === "0") && query === "" ? { kind: "cluster", nodes, login, isTls } : undefined;
}

/** Explains why redisPlaceOf() refuses a text, quoting no part that may be secret. */
export function problemInRedisUrl(text: string): string | undefined {
  const badEscape = badEscapeIn(text);
  if (badEscape !== undefined) return badEscape;
  const [, , sentinel, , , path, query] = PARTS.exec(text) ?? [];
  if (query) return `it takes ${sentinel ? `the options ${SENTINEL_PARAMETERS.join(", ")}` : "no options"}`;
  return path ? "the host may only be followed by a database number, or with Sentinels the master's name" : undefined;
}

export function describeRedisPlace(place: RedisPlace): string {
  if (place.kind === "server") {
    const { protocol, host, pathname } = new URL(place.url);
    return `${protocol}//${host}${pathname}`;
  }
  const protocol = place.isTls ? "rediss" : "redis";
  const hosts = place.nodes.map(hostText).join(",");
  return place.kind === "cluster"
    ? `${protocol}://${hosts}`
    : `${protocol}+sentinel://${hosts}/${encodeURIComponent(place.name)}`;
}

/** The cluster that this server turned out to belong to; undefined for a Unix socket. */
export function clusterOf({ url }: RedisServerPlace): RedisClusterPlace | undefined {
  const { protocol, hostname, port, username, password } = new URL(url);
  if (protocol === "unix:") return undefined;
  const login = loginOf(password === "" ? username : `${username}:${password}`);
  const nodes = [{ host: withoutBrackets(hostname), port: port === "" ? REDIS_PORT : Number(port) }];
  return { kind: "cluster", nodes, login: login ?? {}, isTls: protocol === "rediss:" };
}

function socketPlaceOf(text: string): RedisServerPlace | undefined {
  const { host, pathname = "" } = URL.parse(text) ?? {};
  return host === "" && pathname.length > 1 ? { kind: "server", url: text } : undefined;
}

function serverPlaceOf(text: string): RedisServerPlace | undefined {
  const { hostname, username, password, pathname, search } = URL.parse(text) ?? {};
  if (!hostname || search || !/^(\/\d{0,5})?$/.test(pathname ?? "")) return undefined;
  return loginOf(`${username}:${password}`) && { kind: "server", url: text };
}

function sentinelLoginOf(query: string): RedisLogin | undefined {
  const parameters = new URLSearchParams(query);
  if ([...parameters.keys()].some((name) => !SENTINEL_PARAMETERS.includes(name))) return undefined;
  const [username = "", password = ""] = SENTINEL_PARAMETERS.map((name) => parameters.get(name) ?? "");
  return { ...(username !== "" && { username }), ...(password !== "" && { password }) };
}

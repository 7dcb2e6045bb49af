/** Filters requests out of a log's import. */
import { isbot } from "isbot";
import type { LogLine } from "./formats/log-line.ts";

export interface Filters {
  readonly skipBots: boolean;
  readonly skipAssets: boolean;
  /** Statuses such as 200 or 3xx; undefined: all. */
  readonly status: readonly string[] | undefined;
  readonly method: readonly string[] | undefined;
  /** Paths, or prefixes with a star. */
  readonly path: readonly string[] | undefined;
  readonly skipPath: readonly string[] | undefined;
}

export type LeftOut = "bots" | "assets" | "other statuses" | "other methods" | "other paths" | "no requests";

const ASSET = /\.(?:css|js|mjs|map|png|jpe?g|gif|svg|webp|avif|ico|bmp|woff2?|ttf|otf|eot|mp4|webm|mp3|wasm)$/i;
const AGENTS_MAX = 10_000;

/** Returns why a line is omitted, or undefined. */
export function filterOf(filters: Filters): (line: LogLine) => LeftOut | undefined {
  const { skipAssets, skipBots, status: statuses, method: methods, path: paths, skipPath: skipPaths } = filters;
  const isBot = agentCheck();
  return ({ status = "", method = "", path = "", agent }) => {
    if (statuses !== undefined && !statuses.some((wanted) => isStatus(status, wanted))) return "other statuses";
    if (methods !== undefined && !methods.includes(method.toUpperCase())) return "other methods";
    const bare = withoutQuery(path);
    if (paths !== undefined && !paths.some((pattern) => isPath(bare, pattern))) return "other paths";
    if (skipPaths?.some((pattern) => isPath(bare, pattern))) return "other paths";
    if (skipAssets && ASSET.test(bare)) return "assets";
    return skipBots && isBot(agent) ? "bots" : undefined;
  };
}

function isStatus(status: string, wanted: string): boolean {
  return wanted.endsWith("xx") ? status[0] === wanted[0] : status === wanted;
}

function isPath(path: string, pattern: string): boolean {
  return pattern.endsWith("*") ? path.startsWith(pattern.slice(0, -1)) : path === pattern;
}

function withoutQuery(path: string): string {
  const query = path.indexOf("?");
  return query === -1 ? path : path.slice(0, query);
}

/** A missing User-Agent counts as a bot, since browsers always send one. Cached, since most lines repeat one. */
function agentCheck(): (agent: string | undefined) => boolean {
  const known = new Map<string, boolean>();
  return (agent = "") => {
    let found = known.get(agent);
    if (found === undefined) {
      found = agent === "" || isbot(agent);
      if (known.size >= AGENTS_MAX) known.clear();
      known.set(agent, found);
    }
    return found;
  };
}

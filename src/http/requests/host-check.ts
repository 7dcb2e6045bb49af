/**
 * Refuses a request with a malformed Host header (RFC 9112, 3.2) before it is routed. Bun accepts any text, and if it
 * makes no URL, passes the path alone.
 *
 * A request without a Host is accepted: health checks of balancers use HTTP/1.0.
 */
import { GOT_MAX_CHARS } from "../../protocol/input-error.ts";
import { errorAnswer } from "../answers.ts";

/** The first slash after "http://" or "https://" and at least one character. */
const EARLIEST_PATH = 8;

/** Returns a check, which answers undefined if the request may be routed. */
export function hostCheck(): (request: Request) => Response | undefined {
  // The latest good URL up to its path: most requests have the same.
  let good = "\0";
  return ({ url, headers }) => {
    if (url.startsWith(good)) return undefined;
    const isPathAlone = url.startsWith("/");
    const origin = isPathAlone ? "" : url.slice(0, url.indexOf("/", EARLIEST_PATH) + 1);
    const isGood = isPathAlone ? (headers.get("host") ?? "") === "" : URL.canParse(origin);
    if (isGood && !isPathAlone) good = origin;
    return isGood ? undefined : hostRefused(headers.get("host"));
  };
}

function hostRefused(got: string | null): Response {
  const expected = "a host name or address, and a port if it is not the default";
  const shown = (got ?? "").slice(0, GOT_MAX_CHARS);
  const message = `host: got ${JSON.stringify(shown)}, expected ${expected}`;
  return errorAnswer(400, { code: "invalid_host", message, field: "host", got: shown, expected });
}

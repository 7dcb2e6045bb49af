/** Requests as web servers get them, many of them odd, as the bytes of one connection each. */
import { networkInterfaces } from "node:os";
import type { Random } from "../pipeline/random.ts";

export interface Conversation {
  readonly from: string;
  readonly bytes: Buffer;
  /** The server ends the connection after its last request. */
  readonly isWhole: boolean;
}

const PATHS = ["/", "/shop/", "/missing", "/moved", "/broken", "/login", "/a%20b", '/a"b', "/a\\b", "/[x]", "/ü€"];
const QUERIES = [
  "",
  "?q=1",
  "?q=a+b",
  '?q="] "',
  `?q=${"x".repeat(3_000)}`,
  "?a=1&b=%ff%00",
  "?[17/May/2015:10:05:03 +0000]",
];
const METHODS = [
  "GET",
  "GET",
  "GET",
  "HEAD",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  "OPTIONS",
  "PROPFIND",
  "BREW",
  "M-SEARCH",
];
const AGENTS = [
  undefined,
  "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Safari/537.36",
  "curl/7.88.1",
  "-",
  "",
  `long ${"agent ".repeat(300)}`,
  'quoted "agent" \\" \\',
  'tab\there [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1',
  "bytes \xff\xfe\x80 ü",
];
const REFERRERS = [
  undefined,
  undefined,
  "https://r.example/",
  "-",
  "",
  'https://r.example/?q="a b"',
  "\xe4",
  '" 200 1 "',
];
const USERS = [
  undefined,
  undefined,
  "ann",
  "John Doe",
  'a "b"',
  "",
  "[x] y",
  "ü",
  "-",
  "a\\",
  '] "GET',
  "203.0.113.9, 10.0.0.1",
];
const PROXIED = ["203.0.113.7", "2001:db8::17", "198.51.100.4"];
const FORWARDED = [undefined, undefined, ...PROXIED, `10.0.0.1, ${PROXIED[2]}`, "unknown", `${PROXIED[0]}:50001`];
/** Some containers have no IPv6. */
export const HAS_IPV6 = Object.values(networkInterfaces()).some((each) =>
  each?.some(({ address }) => address === "::1"),
);
const CLIENTS = [
  ...(HAS_IPV6 ? ["::1", "::1"] : []),
  ...Array.from({ length: 50 }, (_, i) => `127.0.${i % 3}.${1 + i}`),
];
/** Everything that a server may report as a client's address. */
export const ADDRESSES: ReadonlySet<string> = new Set([...PROXIED, ...CLIENTS]);
/** No whole request, or none that a server takes; they end a connection. */
const GARBAGE = [
  "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xd2\x11\x00\x22\x5c\x0a\x00",
  "\x80\x2e\x01\x00\x02",
  "\r\n\r\n\r\n",
  "\x00\x00\x00\x00\n\n",
  "GET",
  "GET /",
  "GET / HTTP/1.1\r\nHost: x",
  "GET /\r\n",
  "GET / HTTP/9.9\r\n\r\n",
  "GET / HTTP/1.1\r\n\r\n",
  "get / HTTP/1.1\r\nHost: x\r\n\r\n",
  "GET  /  two blanks HTTP/1.1\r\nHost: x\r\n\r\n",
  `GET /a"b' \\ [x] "GET / HTTP/1.1\r\nHost: x\r\n\r\n`,
  "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
  "GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n",
  "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
  "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
  "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
  "GET http://other.example/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  "CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n",
  "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this",
  '"" \\x22 "-" [] 400 0\r\n\r\n',
  "GET / HTTP/1.1 extra\r\nHost: x\r\n\r\n",
  `GET /${"y".repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
  `GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${"z".repeat(40_000)}\r\n\r\n`,
  "*1\r\n$4\r\nPING\r\n",
  "",
];
const REQUESTS_MAX = 60;
const GARBAGE_SHARE = 0.4;

/** Without end. */
export function* oddConversations(random: Random): Generator<Conversation, never> {
  for (;;) {
    const isWhole = !random.chance(GARBAGE_SHARE);
    const count = 1 + random.below(REQUESTS_MAX);
    const requests = Array.from({ length: count }, (_, i) => requestText(random, isWhole && i === count - 1));
    const text = requests.join("") + (isWhole ? "" : random.pick(GARBAGE));
    yield { from: random.pick(CLIENTS), bytes: Buffer.from(text, "latin1"), isWhole };
  }
}

function requestText(random: Random, isLast: boolean): string {
  const method = random.pick(METHODS);
  const user = random.pick(USERS);
  const login = user === undefined ? undefined : `Basic ${Buffer.from(`${user}:secret`).toString("base64")}`;
  const headers = {
    host: "shop.example",
    connection: isLast ? "close" : "keep-alive",
    "user-agent": random.pick(AGENTS),
    referer: random.pick(REFERRERS),
    authorization: login,
    "x-forwarded-for": random.pick(FORWARDED),
    "content-length": method === "POST" || method === "PUT" ? "0" : undefined,
  };
  const lines = Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]));
  const path = Buffer.from(random.pick(PATHS) + random.pick(QUERIES).replaceAll(" ", "%20")).toString("latin1");
  return `${[`${method} ${path} HTTP/1.1`, ...lines].join("\r\n")}\r\n\r\n`;
}

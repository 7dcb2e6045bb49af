/**
 * Requests that nobody would send on purpose, and some that everybody does, generated from a seed.
 *
 * - valid: numbered events, some with a repeated id, and reads.
 * - framed: the same with changed parameters, method or path, with anything that a request line may contain. Each is
 *   one whole request to the server, which must answer it.
 * - raw: bytes changed, cut off or invented anywhere. What they ask for is unclear, and whether to answer too.
 */
import type { Random } from "../../harness/pipeline/random.ts";

export type FuzzClass = "valid" | "framed" | "raw";

export interface FuzzRequest {
  readonly kind: FuzzClass;
  readonly bytes: Buffer;
  readonly isHead: boolean;
  readonly isPost: boolean;
  /** The number of a valid event. */
  readonly number: number | undefined;
  /** A valid event with an id may be sent again. */
  readonly hasId: boolean;
}

export const FUZZ_STREAMS = ["default", "fuzz.1"];
export const VALID_PREFIX = "valid-";

const FRAMED_SHARE = 0.35;
const RAW_SHARE = 0.1;
const HOUR_MS = 3_600_000;

const METHODS = ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "POST", "TRACE"];
const PATHS = [
  ...["/", "/analytics/", "//analytics", "/%61nalytics", "/ANALYTICS", "/analytics%00", "/analytics;a=b"],
  ...["/livez", "/readyz", "/metrics", "/ledger", "/favicon.ico", "/..%2f..%2fetc", "/analytics#a", "*"],
];
const NAMES = ["user", "timestamp", "stream", "click", "impression", "event", "USER", "__proto__", "a", ""];
const VALUES = [
  ...["", "0", "-1", "+1", "1e3", "1.5", "NaN", "0x10", "007", "999999999999999", "99999999999999999999"],
  ...["null", "true", "[]", "{}", "%", "%zz", "%0", "%00", "%0d%0a", "%ff", "%c3%28", "%ef%bf%bd", "%20", "+"],
  ...[
    "click",
    "impression",
    "a=b",
    "a%26b",
    "ü".repeat(3),
    "😀",
    "'",
    '"',
    "`",
    "\\",
    "<script>",
    "../..",
    "__proto__",
  ],
  ...["x".repeat(255), "x".repeat(256), "%41".repeat(255), "x".repeat(5_000)],
];
const BAD_HEADERS = [
  ...["Content-Length: -1", "Content-Length: 99999999999", "Content-Length: x", "Content-Length: 5"],
  ...["Transfer-Encoding: chunked", "Transfer-Encoding: x", "Expect: 100-continue", "Upgrade: websocket"],
  ...["Connection: close", "Host:", ": no-name", "No colon", `X: ${"y".repeat(20_000)}`, " folded: yes"],
];

type Pair = readonly [name: string, value: string];

interface Parts {
  method: string;
  path: string;
  pairs: Pair[];
}

export class FuzzRequests {
  readonly #random: Random;
  readonly #hour: number;
  #events = 0;

  constructor(random: Random, hour: number) {
    this.#random = random;
    this.#hour = hour;
  }

  next(): FuzzRequest {
    const draw = this.#random.fraction();
    if (draw < RAW_SHARE) return this.#raw();
    return draw < RAW_SHARE + FRAMED_SHARE ? this.#framed() : this.#valid();
  }

  #valid(): FuzzRequest {
    if (this.#random.chance(0.15)) {
      const bytes = bytesOf(this.#read());
      return { kind: "valid", bytes, isHead: false, isPost: false, number: undefined, hasId: false };
    }
    const number = this.#events++;
    const hasId = this.#random.chance(0.3);
    const parts = this.#event(`${VALID_PREFIX}${number}`);
    if (hasId) parts.pairs.push(["id", `id-${number}`]);
    return { kind: "valid", bytes: bytesOf(parts), isHead: false, isPost: true, number, hasId };
  }

  #event(user: string): Parts {
    const pairs: Pair[] = [
      ["timestamp", String(this.#hour + this.#random.below(HOUR_MS))],
      ["user", user],
      this.#random.chance(0.5) ? ["click", ""] : ["event", "impression"],
    ];
    const stream = this.#random.pick(FUZZ_STREAMS);
    if (stream !== "default") pairs.push(["stream", stream]);
    return { method: "POST", path: "/analytics", pairs: this.#random.shuffled(pairs) };
  }

  #read(): Parts {
    const stream: Pair = ["stream", this.#random.pick(FUZZ_STREAMS)];
    return { method: "GET", path: "/analytics", pairs: [["timestamp", String(this.#hour)], stream] };
  }

  #changed(): Parts {
    const parts = this.#random.chance(0.2) ? this.#read() : this.#event(`changed-${this.#random.below(1e9)}`);
    for (let n = this.#random.below(3); n >= 0; n--) this.#change(parts);
    return parts;
  }

  #change(parts: Parts): void {
    const random = this.#random;
    const { pairs } = parts;
    const at = random.below(Math.max(1, pairs.length));
    const [name, value] = pairs[at] ?? ["a", ""];
    const changes = [
      () => pairs.splice(at, 1),
      () => pairs.push([name, value]),
      () => pairs.push([random.pick(NAMES), random.pick(VALUES)]),
      () => pairs.splice(at, 1, [random.pick(NAMES), value]),
      () => pairs.splice(at, 1, [name, random.pick(VALUES)]),
      () => pairs.splice(at, 1, [name, this.#flipped(value)]),
      () => pairs.splice(at, 1, [name, encoded(value)]),
      () => {
        parts.method = random.pick(METHODS);
      },
      () => {
        parts.path = random.pick(PATHS);
      },
    ];
    random.pick(changes)();
  }

  /** Another character in one place: none that would end the request line. */
  #flipped(value: string): string {
    if (value === "") return "a";
    const at = this.#random.below(value.length);
    return value.slice(0, at) + String.fromCharCode(0x21 + this.#random.below(0x5d)) + value.slice(at + 1);
  }

  #framed(): FuzzRequest {
    const parts = this.#changed();
    const body = this.#random.chance(0.1) ? "x".repeat(this.#random.below(1_000)) : undefined;
    const { method } = parts;
    return {
      kind: "framed",
      bytes: bytesOf(parts, body === undefined ? [] : [`Content-Length: ${body.length}`], body),
      isHead: method === "HEAD",
      isPost: method === "POST",
      number: undefined,
      hasId: false,
    };
  }

  #raw(): FuzzRequest {
    const parts = this.#changed();
    // To a method that HTTP does not know the connection is closed, without an answer.
    if (this.#random.chance(0.05)) parts.method = parts.method.toLowerCase();
    const base = bytesOf(parts, this.#random.chance(0.5) ? [this.#random.pick(BAD_HEADERS)] : []);
    const bytes = this.#broken(base);
    const isPost = bytes.includes("POST");
    return { kind: "raw", bytes, isHead: false, isPost, number: undefined, hasId: false };
  }

  #broken(bytes: Buffer): Buffer {
    const random = this.#random;
    const changes = [
      () => bytes,
      () => bytes.subarray(0, random.below(bytes.length)),
      () => Buffer.from(Array.from({ length: 1 + random.below(2_000) }, () => random.below(256))),
      () => {
        for (let n = 1 + random.below(5); n > 0; n--) bytes[random.below(bytes.length)] = random.below(256);
        return bytes;
      },
      () => Buffer.concat([bytes.subarray(random.below(bytes.length)), bytes]),
      () => Buffer.concat([bytes, Buffer.from("x".repeat(random.below(100_000)))]),
    ];
    return random.pick(changes)();
  }
}

function encoded(value: string): string {
  return Array.from(Buffer.from(value), (byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
}

function bytesOf({ method, path, pairs }: Parts, headers: readonly string[] = [], body = ""): Buffer {
  const query = pairs.map(([name, value]) => (value === "" ? name : `${name}=${value}`)).join("&");
  const target = query === "" ? path : `${path}?${query}`;
  const lines = [`${method} ${target} HTTP/1.1`, "Host: localhost", ...headers, "", body];
  return Buffer.from(lines.join("\r\n"));
}

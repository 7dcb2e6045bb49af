/**
 * What a visitor who comes without a user id is called: a pseudonym for the day (UTC), made from the address and
 * the user agent.
 *
 * Invariant: neither of the two is stored or logged, and a pseudonym leads back to them only for who knows the
 * salt. That is in memory alone, and another one each day: so pseudonyms of two days can't be linked.
 */
import { randomBytes } from "node:crypto";
import { DAY_MS } from "../../domain/event.ts";

const PREFIX = "anon-";
/** 128 bits. */
const HASH_CHARS = 22;
const SALT_BYTES = 32;
/** Of an IPv6 address, with an IPv4 address in it: what is longer is none. */
const ADDRESS_MAX_CHARS = 45;
const IPV6_GROUPS = 8;
const IPV6_NETWORK_GROUPS = 4;

/** The part of the server that knows the other end of a connection. */
export interface Peers {
  requestIP(request: Request): { readonly address: string } | null;
}

/** Undefined if the connection is gone already. Each of the proxies has appended the address that it saw. */
export function addressOf(request: Request, peers: Peers | null, proxies: number): string | undefined {
  const peer = peers?.requestIP(request)?.address;
  const forwarded = proxies === 0 ? null : request.headers.get("x-forwarded-for");
  if (peer === undefined || forwarded === null) return peer;
  const addresses = forwarded.split(",").map((address) => address.trim());
  // Fewer than there are proxies: it came past some of them, and the first one noted is the furthest.
  return addresses.at(-proxies) || addresses[0] || peer;
}

/**
 * Who is counted as one by a limit on addresses: of IPv6 the network of 64 bits, since each of its customers has at
 * least one of those, with more addresses in it than there are names for.
 */
export function networkOf(address: string): string {
  if (!address.includes(":")) return address.slice(0, ADDRESS_MAX_CHARS);
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [head = "", tail] = address.slice(0, ADDRESS_MAX_CHARS).split("::");
  const groups = head === "" ? [] : head.split(":");
  const tailGroups = tail === undefined || tail === "" ? [] : tail.split(":");
  while (groups.length + tailGroups.length < IPV6_GROUPS) groups.push("0");
  const network = [...groups, ...tailGroups].slice(0, IPV6_NETWORK_GROUPS);
  return `${network.map((group) => group.toLowerCase().replace(/^0+(?=.)/, "")).join(":")}::/64`;
}

export class Pseudonyms {
  readonly #secret: string | undefined;
  #day = -1;
  #salt: Uint8Array = new Uint8Array();

  /** Instances with the same secret make the same pseudonyms. Without one the salt is random. */
  constructor(secret: string | undefined) {
    this.#secret = secret;
  }

  /** The same for all streams of a site, so that their users can be united, and another one elsewhere. */
  of(address: string, userAgent: string, stream: string, now: number): string {
    const [site] = stream.split(".", 1);
    const hash = new Bun.CryptoHasher("sha256", this.#saltOf(now));
    hash.update(JSON.stringify([site, address, userAgent]));
    return PREFIX + hash.digest("base64url").slice(0, HASH_CHARS);
  }

  #saltOf(now: number): Uint8Array {
    const day = now - (now % DAY_MS);
    if (day !== this.#day) {
      this.#salt = this.#secret === undefined ? randomBytes(SALT_BYTES) : derived(this.#secret, day);
      this.#day = day;
    }
    return this.#salt;
  }
}

function derived(secret: string, day: number): Uint8Array {
  return new Bun.CryptoHasher("sha256", secret).update(`salt of ${new Date(day).toISOString()}`).digest();
}

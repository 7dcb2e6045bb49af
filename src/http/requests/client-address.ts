/**
 * The client address of a request, for pseudonyms, limits and feeds.
 *
 * Invariant: addresses are canonical (RFC 5952; IPv4 within IPv6 becomes IPv4), without a port. ipaddr.js parses IPv6.
 * It also accepts octal and shortened forms of IPv4, so node:net decides there. proxy-addr is not used, as it
 * identifies proxies by their addresses, while TRUST_PROXY is their number.
 */
import { isIPv4 } from "node:net";
import ipaddr from "ipaddr.js";
import type { Log } from "../../runtime/log.ts";

/** The part of the server that knows a connection's peer. */
export interface Peers {
  requestIP(request: Request): { readonly address: string } | null;
}

const BRACKETED = /^\[([^\]]*)\](?::\d+)?$/;
const WITH_PORT = /^([^:]*):\d+$/;
const NETWORK_BITS = 64;

export class ClientAddresses {
  readonly #proxies: number;
  readonly #log: Log;
  #hasWarned = false;

  /** `proxies`: how many are in front of the service. Each appends the address that it saw to X-Forwarded-For. */
  constructor(proxies: number, log: Log) {
    this.#proxies = proxies;
    this.#log = log;
  }

  /** Undefined if the connection is already closed. */
  of(request: Request, peers: Peers | null): string | undefined {
    const peer = peers?.requestIP(request)?.address;
    if (peer === undefined) return undefined;
    const forwarded = request.headers.get("x-forwarded-for");
    if (forwarded === null) return canonical(peer) ?? peer;
    if (this.#proxies === 0) this.#warnOnce();
    return this.#seenByProxy(forwarded) ?? canonical(peer) ?? peer;
  }

  #seenByProxy(forwarded: string): string | undefined {
    if (this.#proxies === 0) return undefined;
    const addresses = forwarded.split(",");
    // Fewer addresses than proxies: the request bypassed some, and the first address is the client's.
    return canonical(addresses.at(-this.#proxies) ?? addresses[0]!);
  }

  #warnOnce(): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const message =
      "requests have X-Forwarded-For, which is ignored as TRUST_PROXY is 0: if a proxy sends it, all its clients " +
      "count as one address; set TRUST_PROXY to the number of proxies";
    this.#log.warn({}, message);
  }
}

/** Without the port; undefined if it is not an address. */
export function canonical(text: string): string | undefined {
  const trimmed = text.trim();
  const host = BRACKETED.exec(trimmed)?.[1] ?? WITH_PORT.exec(trimmed)?.[1] ?? trimmed;
  if (isIPv4(host)) return host;
  if (!ipaddr.IPv6.isValid(host)) return undefined;
  return ipaddr.process(host).toString();
}

/**
 * The unit of a limit: for IPv6 the /64 network, since each customer has at least one and can choose among its
 * addresses. `address`: from `ClientAddresses`.
 */
export function networkOf(address: string): string {
  if (!ipaddr.IPv6.isValid(address)) return address;
  const { parts } = ipaddr.IPv6.parse(address);
  const network = parts.map((part, i) => (i < NETWORK_BITS / 16 ? part : 0));
  return `${new ipaddr.IPv6(network)}/${NETWORK_BITS}`;
}

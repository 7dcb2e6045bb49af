/**
 * The address that a request comes from, for pseudonyms, limits and feeds.
 *
 * Invariant: an address has one spelling here, however it was written (RFC 5952; IPv4 within IPv6 is IPv4), and no
 * port. ipaddr.js parses IPv6; of IPv4 it accepts octal and shortened forms, so that node:net decides there.
 * proxy-addr is not used, as it identifies proxies by their addresses, and TRUST_PROXY is their number.
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

  /** `proxies`: the number in front of the service. Each appends the address that it saw to X-Forwarded-For. */
  constructor(proxies: number, log: Log) {
    this.#proxies = proxies;
    this.#log = log;
  }

  /** Undefined if the connection is closed already. */
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
    // With fewer addresses than proxies, the request bypassed some of them: the first is the client's.
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
 * What a limit counts as one client: of IPv6 the network of 64 bits, since each customer has at least one of those, and
 * can choose among its addresses. `address`: as `ClientAddresses` returns it.
 */
export function networkOf(address: string): string {
  if (!ipaddr.IPv6.isValid(address)) return address;
  const { parts } = ipaddr.IPv6.parse(address);
  const network = parts.map((part, i) => (i < NETWORK_BITS / 16 ? part : 0));
  return `${new ipaddr.IPv6(network)}/${NETWORK_BITS}`;
}

/** The address of a client: found behind proxies, and the same in all its spellings. */
import { describe, expect, test } from "bun:test";
import { ClientAddresses, canonical, networkOf } from "../../src/http/requests/client-address.ts";

const ADDRESS = "192.0.2.7";

function withLog(proxies: number) {
  const warnings: string[] = [];
  const log = { info: () => {}, warn: (_: object, text: string) => warnings.push(text), error: () => {} };
  return { addresses: new ClientAddresses(proxies, log), warnings };
}

describe("the address", () => {
  const peers = { requestIP: () => ({ address: ADDRESS }) };
  const requestWith = (forwarded?: string) =>
    new Request("http://localhost/", {
      headers: forwarded === undefined ? {} : { "x-forwarded-for": forwarded },
    });
  const cases: Readonly<Record<string, readonly [string | undefined, number, string]>> = {
    "is the connection's": [undefined, 0, ADDRESS],
    "is the connection's, whatever a client says": ["203.0.113.1", 0, ADDRESS],
    "is the connection's if the proxy says nothing": [undefined, 1, ADDRESS],
    "is the connection's if the proxy says as good as nothing": [" ", 1, ADDRESS],
    "is the connection's if the proxy does not know it": ["203.0.113.9, unknown", 1, ADDRESS],
    "is the connection's if what the proxy says is no address": ["203.0.113.256", 1, ADDRESS],
    "is what the one proxy saw": ["203.0.113.1", 1, "203.0.113.1"],
    "is what the one proxy saw, not what was there before": ["198.51.100.1, 203.0.113.1", 1, "203.0.113.1"],
    "is what the first of two proxies saw": ["198.51.100.1,203.0.113.1 , 10.0.0.1", 2, "203.0.113.1"],
    "is the furthest that is known": ["203.0.113.1", 2, "203.0.113.1"],
    "has no port": ["203.0.113.1:50001", 1, "203.0.113.1"],
    "has no brackets": ["[2001:db8::1]:443", 1, "2001:db8::1"],
    "has one spelling": ["::FFFF:203.0.113.5", 1, "203.0.113.5"],
  };

  for (const [what, [forwarded, proxies, expected]] of Object.entries(cases)) {
    test(what, () => {
      expect(withLog(proxies).addresses.of(requestWith(forwarded), peers)).toBe(expected);
    });
  }

  test("of the connection has one spelling, too", () => {
    const mapped = { requestIP: () => ({ address: "::ffff:192.0.2.7" }) };
    expect(withLog(0).addresses.of(requestWith(), mapped)).toBe(ADDRESS);
  });

  test("is not known once the connection is closed", () => {
    const gone = { requestIP: () => null };
    expect(withLog(1).addresses.of(requestWith("203.0.113.1"), gone)).toBeUndefined();
    expect(withLog(0).addresses.of(requestWith(), null)).toBeUndefined();
  });

  test("is warned of once if proxies send one that is not used", () => {
    const { addresses, warnings } = withLog(0);
    addresses.of(requestWith(), peers);
    expect(warnings).toEqual([]);
    for (let i = 0; i < 3; i++) addresses.of(requestWith("203.0.113.1"), peers);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("TRUST_PROXY");
    const trusting = withLog(1);
    trusting.addresses.of(requestWith("203.0.113.1"), peers);
    expect(trusting.warnings).toEqual([]);
  });
});

describe("spellings", () => {
  const spellings: Readonly<Record<string, readonly string[]>> = {
    "203.0.113.5": [
      ...["203.0.113.5", " 203.0.113.5 ", "203.0.113.5:80", "::ffff:203.0.113.5", "::FFFF:CB00:7105"],
      ...["0:0:0:0:0:ffff:cb00:7105", "[::ffff:203.0.113.5]:65535", "[::ffff:203.0.113.5]"],
    ],
    "2001:db8::1": [
      ...["2001:db8::1", "2001:DB8:0:0::1", "2001:db8:0:0:0:0:0:1", "[2001:db8::1]", "[2001:db8::1]:443"],
      "2001:0db8:0000:0000:0000:0000:0000:0001",
    ],
    "::1": ["::1", "0:0:0:0:0:0:0:1", "[::1]:1"],
  };
  for (const [expected, some] of Object.entries(spellings)) {
    test(`of ${expected} are one address`, () => {
      expect(some.map(canonical)).toEqual(some.map(() => expected));
    });
  }

  const none = ["", "unknown", "_hidden", "1", "127.1", "010.0.0.1", "0x7f.0.0.1", "1.2.3.4.5", "1.2.3"];
  for (const text of [...none, "::ffff:1.2.3.4:80", "2001:db8::1::2", "[2001:db8::1", ":80", "a:80", "[]:80"]) {
    test(`${JSON.stringify(text)} is none`, () => expect(canonical(text)).toBeUndefined());
  }
});

describe("the network of an address", () => {
  const cases: Readonly<Record<string, string>> = {
    "203.0.113.9": "203.0.113.9",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:db8::1": "2001:db8::/64",
    "::1": "::/64",
    "fe80::1": "fe80::/64",
  };

  for (const [address, network] of Object.entries(cases)) {
    test(`of ${address} is ${network}`, () => expect(networkOf(address)).toBe(network));
  }
});

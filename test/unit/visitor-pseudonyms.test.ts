/** Pseudonyms of visitors without a user id. */
import { describe, expect, test } from "bun:test";
import { DAY_MS, HOUR_MS } from "../../src/domain/event.ts";
import { Pseudonyms } from "../../src/http/ingest/visitor-pseudonyms.ts";

const DAY = Date.UTC(2026, 0, 31);
const SECRET = "a secret of some length";
const ADDRESS = "192.0.2.7";
const AGENT = "Browser/1.0";

describe("a pseudonym", () => {
  for (const [what, secret] of [
    ["random salt", undefined],
    ["salt from a secret", SECRET],
  ] as const) {
    test(`stays for a day and changes with it: ${what}`, () => {
      const pseudonyms = new Pseudonyms(secret);
      const at = (time: number) => pseudonyms.of(ADDRESS, AGENT, "shop", time);
      const first = at(DAY);
      expect(first).toMatch(/^anon-[\w-]{22}$/);
      expect([at(DAY + HOUR_MS), at(DAY + DAY_MS - 1)]).toEqual([first, first]);
      expect(at(DAY + DAY_MS)).not.toBe(first);
      // A random salt is lost. One derived from a secret can be derived again.
      expect(at(DAY) === first).toBe(secret !== undefined);
    });
  }

  test("is another one for another address, user agent, site or secret", () => {
    const pseudonyms = new Pseudonyms(SECRET);
    const all = [
      pseudonyms.of(ADDRESS, AGENT, "shop", DAY),
      pseudonyms.of("192.0.2.8", AGENT, "shop", DAY),
      pseudonyms.of(ADDRESS, "Browser/1.1", "shop", DAY),
      pseudonyms.of(ADDRESS, AGENT, "blog", DAY),
      // Where one ends and the next begins is part of it.
      pseudonyms.of(`${ADDRESS}B`, AGENT.slice(1), "shop", DAY),
      new Pseudonyms(`${SECRET}!`).of(ADDRESS, AGENT, "shop", DAY),
      new Pseudonyms(undefined).of(ADDRESS, AGENT, "shop", DAY),
      new Pseudonyms(undefined).of(ADDRESS, AGENT, "shop", DAY),
    ];
    expect(new Set(all).size).toBe(all.length);
  });

  test("is the same for all streams of a site, and for all who have the secret", () => {
    const pseudonyms = new Pseudonyms(SECRET);
    const expected = pseudonyms.of(ADDRESS, AGENT, "shop", DAY);
    expect(pseudonyms.of(ADDRESS, AGENT, "shop.spring.banner", DAY)).toBe(expected);
    expect(new Pseudonyms(SECRET).of(ADDRESS, AGENT, "shop", DAY)).toBe(expected);
  });
});

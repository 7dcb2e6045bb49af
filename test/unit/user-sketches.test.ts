/** Users by kind compared with a model that keeps everything: added, merged and counted in any order. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Sketch, UserSketches } from "../../src/domain/unique-users/sketch.ts";
import { registerOf } from "../harness/pipeline/test-users.ts";

interface Added {
  readonly register: number;
  readonly isClick: boolean;
}

/** Few, so that they repeat, or enough for a sketch to become dense. */
const someAdded: fc.Arbitrary<Added[]> = fc
  .record({
    name: fc.constantFrom("a", "b", "c"),
    count: fc.constantFrom(0, 1, 20, 400, 3_000),
    clickEvery: fc.constantFrom(1, 2, 10, Number.POSITIVE_INFINITY),
  })
  .map(({ name, count, clickEvery }) =>
    Array.from({ length: count }, (_, i) => {
      return { register: registerOf(`${name}-${i}`), isClick: (i + 1) % clickEvery === 0 };
    }),
  );

const someStep = fc.record({
  what: fc.constantFrom("add", "merge", "encode"),
  added: someAdded,
});

function sketchOf(added: readonly Added[]): Sketch {
  const sketch = new Sketch();
  for (const { register } of added) sketch.add(register);
  return sketch;
}

function usersOf(added: readonly Added[]): UserSketches {
  const users = new UserSketches();
  for (const { register, isClick } of added) users.add(register, isClick);
  return users;
}

function expectSketch(actual: Sketch, added: readonly Added[]): void {
  expect(actual.encode().equals(sketchOf(added).encode())).toBe(true);
}

function expectUsers(users: UserSketches, added: readonly Added[]): void {
  const clicked = added.filter(({ isClick }) => isClick);
  const seen = added.filter(({ isClick }) => !isClick);
  expect(users.counts()).toEqual({
    uniqueUsers: sketchOf(added).count(),
    uniqueClickers: sketchOf(clicked).count(),
    uniqueViewers: sketchOf(seen).count(),
  });
  expect(users.count()).toBe(sketchOf(added).count());
  const union = new Sketch();
  for (const each of [users.viewers, users.clickers]) union.merge(each);
  expectSketch(union, added);
  expectSketch(users.viewers, seen);
  expectSketch(users.clickers, clicked);
}

test("are what was added and merged, step by step", () => {
  fc.assert(
    fc.property(fc.array(someStep, { maxLength: 8 }), (steps) => {
      let users = new UserSketches();
      const all: Added[] = [];
      for (const { what, added } of steps) {
        if (what === "encode") {
          const { viewers, clickers } = users.encode();
          users = UserSketches.decode(viewers, clickers);
        } else if (what === "add") {
          for (const { register, isClick } of added) users.add(register, isClick);
        } else {
          const other = usersOf(added);
          users.merge(other);
          expectUsers(other, added);
        }
        if (what !== "encode") all.push(...added);
        expectUsers(users, all);
      }
    }),
    { numRuns: 60 },
  );
});

test("add() says whether a register rose, and the count is never stale", () => {
  const users = new UserSketches();
  const ann = registerOf("ann");
  expect([users.add(ann, true), users.count()]).toEqual([true, 1]);
  expect([users.add(ann, true), users.count()]).toEqual([false, 1]);
  expect([users.add(ann, false), users.count()]).toEqual([true, 1]);
  expect([users.add(registerOf("bob"), false), users.count()]).toEqual([true, 2]);
  users.merge(usersOf([{ register: registerOf("eve"), isClick: true }]));
  expect(users.count()).toBe(3);
  expect([users.add(ann, true), users.add(registerOf("zoe"), true), users.count()]).toEqual([false, true, 4]);
});

test("a kind without users is no bytes, and no bytes are none", () => {
  const { viewers, clickers } = usersOf([{ register: registerOf("ann"), isClick: true }]).encode();
  expect([viewers.length, clickers.length > 0]).toEqual([0, true]);
  expect(UserSketches.decode(new Uint8Array(), new Uint8Array()).counts()).toEqual({
    uniqueUsers: 0,
    uniqueClickers: 0,
    uniqueViewers: 0,
  });
});

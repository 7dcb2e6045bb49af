/**
 * Unique users of one or more hours, by kind: one sketch of the users who clicked, one of those who had an impression.
 * A user in both counts once in their union.
 */
import { Sketch } from "./sketch.ts";

export interface UserCounts {
  readonly uniqueUsers: number;
  readonly uniqueClickers: number;
  readonly uniqueViewers: number;
}

export class UserSketches {
  /** Read-only for callers. */
  readonly viewers: Sketch;
  /** Read-only for callers. */
  readonly clickers: Sketch;
  /** The union's count, cached until a register rises: it takes up to 15 µs and is read often. */
  #count: number | undefined;

  constructor(viewers = new Sketch(), clickers = new Sketch()) {
    this.viewers = viewers;
    this.clickers = clickers;
  }

  /** Reads a store's Redis strings; no bytes mean no users. Throws like Sketch.decode(). */
  static decode(viewers: Uint8Array, clickers: Uint8Array): UserSketches {
    return new UserSketches(decoded(viewers), decoded(clickers));
  }

  /** `register`: from registerOf(). True if a register rose. */
  add(register: number, isClick: boolean): boolean {
    if (!(isClick ? this.clickers : this.viewers).add(register)) return false;
    this.#count = undefined;
    return true;
  }

  merge(other: UserSketches): void {
    this.#count = undefined;
    this.viewers.merge(other.viewers);
    this.clickers.merge(other.clickers);
  }

  union(): Sketch {
    const union = new Sketch();
    union.merge(this.viewers);
    union.merge(this.clickers);
    return union;
  }

  count(): number {
    this.#count ??= this.viewers.countWith(this.clickers);
    return this.#count;
  }

  counts(): UserCounts {
    return {
      uniqueUsers: this.count(),
      uniqueClickers: this.clickers.count(),
      uniqueViewers: this.viewers.count(),
    };
  }

  encode(): { readonly viewers: Buffer; readonly clickers: Buffer } {
    return { viewers: encoded(this.viewers), clickers: encoded(this.clickers) };
  }
}

function decoded(bytes: Uint8Array): Sketch {
  return bytes.length === 0 ? new Sketch() : Sketch.decode(bytes);
}

/** A sketch without users takes no bytes in a store. */
function encoded(sketch: Sketch): Buffer {
  return sketch.isEmpty ? Buffer.alloc(0) : sketch.encode();
}

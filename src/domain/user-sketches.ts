/**
 * The users of an hour, or of several, by kind: a sketch of the clickers, who have a click, and one of the viewers,
 * who have an impression. Who has both is in both, and counts once in their union.
 *
 * Hours that were stored before kinds were told apart are undivided: one sketch has all their users. What such an hour
 * is merged with is undivided from then on, as nobody can tell who of its users clicked.
 *
 * Invariant: every user that was added is in the union. `viewers` is all of it if this is undivided.
 */
import { Sketch } from "./sketch.ts";

export interface UserCounts {
  readonly uniqueUsers: number;
  /** Null if it is not known: of what is undivided. */
  readonly uniqueClickers: number | null;
  readonly uniqueViewers: number | null;
}

export class UserSketches {
  readonly #viewers: Sketch;
  /** Null if this is undivided. */
  #clickers: Sketch | null;
  /** Of the union, until a register rises: it takes up to 15 µs, and is asked for again and again. */
  #count: number | undefined;

  constructor(viewers = new Sketch(), clickers: Sketch | null = new Sketch()) {
    this.#viewers = viewers;
    this.#clickers = clickers;
  }

  /** Reads what a store has: Redis strings, or no bytes for a sketch without users. Throws as Sketch.decode does. */
  static decode(viewers: Uint8Array, clickers: Uint8Array | null): UserSketches {
    return new UserSketches(decoded(viewers), clickers === null ? null : decoded(clickers));
  }

  /** To be read only. All users if this is undivided. */
  get viewers(): Sketch {
    return this.#viewers;
  }

  /** To be read only. Null if this is undivided. */
  get clickers(): Sketch | null {
    return this.#clickers;
  }

  get isDivided(): boolean {
    return this.#clickers !== null;
  }

  /** `register` as registerOf gives it. True if a register rose. */
  add(register: number, isClick: boolean): boolean {
    const sketch = isClick && this.#clickers !== null ? this.#clickers : this.#viewers;
    if (!sketch.add(register)) return false;
    this.#count = undefined;
    return true;
  }

  /** Union into this, kind by kind. */
  merge(other: UserSketches): void {
    this.#count = undefined;
    if (!other.isDivided) this.#undivide();
    this.#viewers.merge(other.#viewers);
    if (other.#clickers !== null) (this.#clickers ?? this.#viewers).merge(other.#clickers);
  }

  #undivide(): void {
    if (this.#clickers === null) return;
    this.#viewers.merge(this.#clickers);
    this.#clickers = null;
  }

  /** All users, in a sketch of its own. */
  union(): Sketch {
    const union = new Sketch();
    union.merge(this.#viewers);
    if (this.#clickers !== null) union.merge(this.#clickers);
    return union;
  }

  /** The estimate of all users. */
  count(): number {
    this.#count ??= this.#clickers === null ? this.#viewers.count() : this.#viewers.countWith(this.#clickers);
    return this.#count;
  }

  counts(): UserCounts {
    const uniqueUsers = this.count();
    if (this.#clickers === null) return { uniqueUsers, uniqueClickers: null, uniqueViewers: null };
    return {
      uniqueUsers,
      uniqueClickers: this.#clickers.count(),
      uniqueViewers: this.#viewers.count(),
    };
  }

  /** As decode() reads it. */
  encode(): { readonly viewers: Buffer; readonly clickers: Buffer | null } {
    const clickers = this.#clickers === null ? null : encoded(this.#clickers);
    return { viewers: encoded(this.#viewers), clickers };
  }
}

function decoded(bytes: Uint8Array): Sketch {
  return bytes.length === 0 ? new Sketch() : Sketch.decode(bytes);
}

/** Of a kind of which there are no events a store keeps, and carries, nothing at all. */
function encoded(sketch: Sketch): Buffer {
  return sketch.isEmpty ? Buffer.alloc(0) : sketch.encode();
}

/** A readable record of what happened, written only in a run that is repeated to be read. */

/** A line that is the same as one of so many before it is only counted. */
const RECENT = 3;
const DAY_MS = 86_400_000;

export class Trace {
  readonly isOn: boolean;
  readonly lines: string[] = [];
  readonly #nowMs: () => number;
  readonly #startMs: number;
  #recent: readonly string[] = [];
  #repeats = 0;

  constructor(isOn: boolean, startMs: number, nowMs: () => number) {
    this.isOn = isOn;
    this.#startMs = startMs;
    this.#nowMs = nowMs;
  }

  /** Callers look at `isOn` first, so that no text is made for nothing. */
  add(who: string, what: string): void {
    if (!this.isOn) return;
    const text = `${who.padEnd(10)} ${what}`;
    const seen = this.#recent.indexOf(text);
    if (seen !== -1) {
      this.#repeats += 1;
      return;
    }
    this.#recent = [text, ...this.#recent.slice(0, RECENT - 1)];
    if (this.#repeats > 0) this.lines.push(`              (lines of the last few came ${this.#repeats} times more)`);
    this.#repeats = 0;
    this.lines.push(`${this.#time()}  ${text}`);
  }

  #time(): string {
    const nowMs = this.#nowMs();
    const day = Math.floor(nowMs / DAY_MS) - Math.floor(this.#startMs / DAY_MS);
    const time = new Date(nowMs).toISOString().slice(11, 23);
    return day === 0 ? time : `+${day}d ${time}`;
  }
}

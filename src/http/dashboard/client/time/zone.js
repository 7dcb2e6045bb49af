/* The clocks of a time zone. A local time is a number: the ms since the epoch if the zone were UTC. */
const QUARTER_MS = 900_000;
const OFFSET = /^GMT(?:([+-])(\d\d):(\d\d))?/;

export class Zone {
  #format;
  /** Indexed by quarter of an hour. */
  #offsets = new Map();

  /** Throws RangeError if there is no such zone. */
  constructor(name) {
    this.name = name;
    this.#format = new Intl.DateTimeFormat("en", { timeZone: name, timeZoneName: "longOffset" });
  }

  static named(name) {
    try {
      return new Zone(name);
    } catch {
      return undefined;
    }
  }

  offsetAt(at) {
    const quarter = Math.floor(at / QUARTER_MS);
    let offset = this.#offsets.get(quarter);
    if (offset === undefined) {
      const { value } = this.#format.formatToParts(at).find(({ type }) => type === "timeZoneName");
      const [, sign, hours = 0, minutes = 0] = OFFSET.exec(value);
      offset = (Number(hours) * 60 + Number(minutes)) * 60_000 * (sign === "-" ? -1 : 1);
      this.#offsets.set(quarter, offset);
    }
    return offset;
  }

  localOf(at) {
    return at + this.offsetAt(at);
  }

  /** A skipped local time moves forward by the length of the gap; of two equal ones, the first is meant. */
  instantOf(local) {
    const guesses = [this.offsetAt(local - 86_400_000), this.offsetAt(local + 86_400_000)];
    const fitting = guesses.map((offset) => local - offset).filter((at) => this.localOf(at) === local);
    return fitting.length > 0 ? Math.min(...fitting) : local - guesses[0];
  }
}

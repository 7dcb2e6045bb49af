/** What an import shows its user: bad lines, setbacks, and progress on a terminal. */
import { grouped } from "../shared/amounts.ts";

interface ReportOptions {
  readonly write: (text: string) => void;
  /** Only terminals show a progress line that is written over. */
  readonly isTerminal: boolean;
  /** Elsewhere a long run writes a line now and then. */
  readonly isLong?: boolean;
  readonly now: () => number;
}

export interface Reading {
  readonly name: string;
  /** Lines read by this run. */
  readonly lines: number;
  /** Default: lines. */
  readonly unit?: string;
  /** Bytes of the file on disk. */
  readonly readBytes: number;
  readonly sizeBytes: number | undefined;
}

const SHOWN_BAD_LINES = 20;
const UPDATE_INTERVAL_MS = 200;
const LINE_INTERVAL_MS = 60_000;
const CLEAR_LINE = "\r\u001b[K";

export class Report {
  readonly #options: ReportOptions;
  #badLines = 0;
  #lastSetback = "";
  #isLineDirty = false;
  #updatedAt = 0;
  #startedAt = 0;
  #firstBytes = 0;

  constructor(options: ReportOptions) {
    this.#options = options;
  }

  /** Begins a file. `readBytes`: imported earlier, so not part of the rate. */
  begin(readBytes: number): void {
    this.#startedAt = this.#options.now();
    this.#firstBytes = readBytes;
  }

  badLine(name: string, line: number, problem: string): void {
    this.#badLines += 1;
    if (this.#badLines <= SHOWN_BAD_LINES) this.note(`${name}:${line}: ${problem}`);
    if (this.#badLines === SHOWN_BAD_LINES) this.note("Further bad lines are counted, but not shown.");
  }

  /** Reports consecutive equal reasons once, since a problem affects several requests. */
  setback(reason: string): void {
    if (reason === this.#lastSetback) return;
    this.#lastSetback = reason;
    this.note(`Retrying: ${reason}`);
  }

  note(text: string): void {
    this.#clear();
    this.#options.write(`${text}\n`);
  }

  progress(reading: Reading): void {
    const { write, isTerminal, isLong = false, now } = this.#options;
    if (!isTerminal && !isLong) return;
    const at = now();
    if (at - this.#updatedAt < (isTerminal ? UPDATE_INTERVAL_MS : LINE_INTERVAL_MS)) return;
    this.#updatedAt = at;
    const newBytes = reading.readBytes - this.#firstBytes;
    const text = progressText({ ...reading, newBytes }, at - this.#startedAt);
    this.#isLineDirty = isTerminal;
    write(isTerminal ? `${CLEAR_LINE}${text}` : `${text}\n`);
  }

  end(): void {
    this.#clear();
  }

  #clear(): void {
    if (this.#isLineDirty) this.#options.write(CLEAR_LINE);
    this.#isLineDirty = false;
  }
}

export function reportTo(output: NodeJS.WriteStream, isLong = false): Report {
  const isTerminal = output.isTTY === true;
  return new Report({ write: (text) => output.write(text), isTerminal, isLong, now: Date.now });
}

interface Advance extends Reading {
  readonly newBytes: number;
}

/** access.log  120,000 lines  45,000/s  37 %  1:12 to go */
export function progressText(advance: Advance, elapsedMs: number): string {
  const { name, lines, unit = "lines", readBytes, newBytes, sizeBytes } = advance;
  const rate = elapsedMs === 0 ? 0 : Math.round((lines * 1_000) / elapsedMs);
  const parts = [name, `${grouped(lines)} ${unit}`, ...(rate > 0 ? [`${grouped(rate)}/s`] : [])];
  if (sizeBytes === undefined || sizeBytes === 0) return parts.join("  ");
  parts.push(`${Math.min(100, Math.floor((readBytes * 100) / sizeBytes))} %`);
  if (newBytes === 0) return parts.join("  ");
  const leftMs = (elapsedMs * Math.max(0, sizeBytes - readBytes)) / newBytes;
  return [...parts, `${durationText(leftMs)} to go`].join("  ");
}

/** 0:07, 1:12, 2:03:04 */
function durationText(ms: number): string {
  const seconds = Math.ceil(ms / 1_000);
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60];
  const padded = (value: number) => String(value).padStart(2, "0");
  const rest = `${padded(seconds % 60)}`;
  return hours > 0 ? `${hours}:${padded(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/**
 * Standard output of all commands but `serve` and `export`. Bun's console.log ignores failed writes, so a full disk
 * would look like success. A command goes on with its work after a failed write, and ends with exit code 2.
 */
import { writeSync } from "node:fs";
import { codeOf, errorText } from "../../runtime/error-text.ts";

const STDOUT = 1;
const OUTPUT_FAILED = 2;
/** While a pipe that somebody made non-blocking is full. */
const RETRY_MS = 5;

let hasFailed = false;
let isReaderGone = false;

/** Returns false if not all of the line was written. */
export function print(line: string): boolean {
  return printText(`${line}\n`);
}

/** Stays quiet if the reader closed the pipe, as `head` does. Reports another failure on standard error, once. */
export function printText(text: string): boolean {
  if (hasFailed || isReaderGone) return false;
  try {
    writeAll(Buffer.from(text));
    return true;
  } catch (error) {
    isReaderGone = codeOf(error) === "EPIPE";
    hasFailed = !isReaderGone;
    if (hasFailed) console.error(`hourglass: cannot write to standard output: ${errorText(error)}`);
    return false;
  }
}

/** `code`: the one of the work itself. */
export function exitCodeAfterOutput(code: number): number {
  return hasFailed ? OUTPUT_FAILED : code;
}

function writeAll(bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(STDOUT, bytes, written);
    } catch (error) {
      if (codeOf(error) !== "EAGAIN") throw error;
      Bun.sleepSync(RETRY_MS);
    }
  }
}

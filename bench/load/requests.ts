/**
 * A requests file (see workload.ts), as bytes that are ready to be sent.
 * Invariant: every driver sends the same bytes; wrk.lua builds them in the same way.
 */
import { readFileSync } from "node:fs";

export interface Requests {
  readonly count: number;
  /** All requests, one behind the other. */
  readonly bytes: Buffer;
  /** Where each begins; one more than there are requests. */
  readonly starts: Uint32Array;
  readonly classes: Uint8Array;
}

/** What a client sends with a POST that has no body. */
export const POST_HEADER = ["Content-Length", "0"] as const;

export function isPost(requestClass: number): boolean {
  return requestClass < 2;
}

export function loadRequests(path: string, port: number): Requests {
  const lines = readLines(path);
  const starts = new Uint32Array(lines.length + 1);
  const classes = new Uint8Array(lines.length);
  const texts = lines.map((line, n) => {
    classes[n] = Number(line[0]);
    const text = requestText(isPost(classes[n]!) ? "POST" : "GET", line.slice(1), port);
    // Nothing in a request is beyond ASCII.
    starts[n + 1] = starts[n]! + text.length;
    return text;
  });
  return { count: lines.length, bytes: Buffer.from(texts.join("")), starts, classes };
}

export function readLines(path: string): string[] {
  const lines = readFileSync(path, "latin1").trimEnd().split("\n");
  if (lines[0] === "") throw new Error(`${path} holds no requests`);
  return lines;
}

function requestText(method: "GET" | "POST", target: string, port: number): string {
  const more = method === "POST" ? `${POST_HEADER.join(": ")}\r\n` : "";
  return `${method} ${target} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${more}\r\n`;
}

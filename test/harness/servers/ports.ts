import { createServer } from "node:net";

/**
 * Below the range from which Linux takes the ports of outgoing connections (32768 on): a port that is let go
 * for a restart is then never taken by a client in between, and a client that knocks at a closed port never
 * happens to connect to itself.
 */
const FIRST_PORT = 15_000;
const PORTS = 17_000;
const ATTEMPTS = 100;

const handedOut = new Set<number>();

/** A free loopback port, which this process was not given before. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    if (handedOut.has(port) || !(await isFree(port))) continue;
    handedOut.add(port);
    return port;
  }
  throw new Error(`no free port among ${ATTEMPTS} tried from ${FIRST_PORT} to ${FIRST_PORT + PORTS - 1}`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

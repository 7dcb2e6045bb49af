import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";

/**
 * Returns a free loopback port that this process was not given before.
 *
 * Each process claims blocks of ports, and listens on the first port of each as long as it lives. So no other test can
 * take a port that is released for a restart. If there are enough, all ports are below the system's range for outgoing
 * connections: then no client takes one either, or connects to itself.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    block ??= await claimBlock();
    const { value: port, done } = block.next();
    if (done === true) block = undefined;
    else if (await isFree(port)) return port;
  }
}

const FIRST_PORT = 10_000;
const BLOCK_PORTS = 100;
const BLOCKS_MIN = 20;
/** Linux' default. */
const FIRST_OUTGOING_PORT = 32_768;
const OUTGOING_PORTS = "/proc/sys/net/ipv4/ip_local_port_range";
const ATTEMPTS = 1_000;

let block: Iterator<number> | undefined;
/** Never closed: they end with this process. */
const guards: Server[] = [];

async function claimBlock(): Promise<Iterator<number>> {
  const blocks = blockCount();
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const first = FIRST_PORT + BLOCK_PORTS * Math.floor(Math.random() * blocks);
    const guard = await listen(first);
    if (guard === undefined) continue;
    guards.push(guard.unref());
    return Array.from({ length: BLOCK_PORTS - 1 }, (_, i) => first + 1 + i).values();
  }
  throw new Error(`no block of ports is free: tried ${ATTEMPTS} times from ${FIRST_PORT} on`);
}

function blockCount(): number {
  const range = existsSync(OUTGOING_PORTS) ? readFileSync(OUTGOING_PORTS, "utf8") : "";
  const upTo = (end: number) => Math.floor((end - FIRST_PORT) / BLOCK_PORTS);
  const blocks = upTo(Number.parseInt(range, 10));
  return blocks >= BLOCKS_MIN ? blocks : upTo(FIRST_OUTGOING_PORT);
}

async function isFree(port: number): Promise<boolean> {
  const server = await listen(port);
  if (server === undefined) return false;
  return await new Promise((resolve) => server.close(() => resolve(true)));
}

function listen(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

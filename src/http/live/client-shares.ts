/** How many streams each client watches, over how many connections, so that one client can't take what all share. */
export class ClientShares {
  readonly #streamsMax: number;
  readonly #connectionsMax: number;
  /** By client and stream, the number of connections. */
  readonly #connections = new Map<string, Map<string, number>>();

  constructor(streamsMax: number, connectionsMax: number) {
    this.#streamsMax = streamsMax;
    this.#connectionsMax = connectionsMax;
  }

  hasRoom(client: string, stream: string): boolean {
    const byStream = this.#connections.get(client);
    if (byStream === undefined) return true;
    const total = byStream.values().reduce((sum, count) => sum + count, 0);
    return total < this.#connectionsMax && (byStream.has(stream) || byStream.size < this.#streamsMax);
  }

  take(client: string, stream: string): void {
    const byStream = this.#connections.get(client) ?? new Map<string, number>();
    byStream.set(stream, (byStream.get(stream) ?? 0) + 1);
    this.#connections.set(client, byStream);
  }

  give(client: string, stream: string): void {
    const byStream = this.#connections.get(client)!;
    const count = byStream.get(stream)! - 1;
    if (count > 0) byStream.set(stream, count);
    else byStream.delete(stream);
    if (byStream.size === 0) this.#connections.delete(client);
  }
}

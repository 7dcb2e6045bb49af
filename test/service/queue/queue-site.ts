/** A service that consumes a queue, and a test's questions to it. */
import { hourOf } from "../../../src/domain/event.ts";
import type { StoredPoison } from "../../../src/store/cold.ts";
import { scrape } from "../../harness/servers/prometheus.ts";
import { runCommand } from "../../harness/service/command.ts";
import { ask } from "../../harness/service/http-connection.ts";
import type { Service, Site } from "../../harness/service/service.ts";
import { waitFor } from "../../harness/service/wait-for.ts";

export const HOUR = hourOf(Date.now());
export const SLOWLY = { timeoutMs: 60_000 };
export const SETTINGS = { FLUSH_INTERVAL_MS: "20", LEASE_MS: "1000" };

export interface SourceReport {
  readonly name: string;
  readonly status: string;
  readonly reason?: string;
  readonly under_way: number;
  readonly lags?: readonly { readonly partition?: number; readonly lag: number }[];
}

interface InstanceLedger {
  readonly duplicates: number;
  readonly holds: boolean;
  readonly refused: Readonly<Record<string, number>>;
}

export function event(stream: string, user: string, more: object = {}) {
  return { timestamp: HOUR + 1, user, event: "click", stream, ...more };
}

export async function readyz(service: Service): Promise<{ status: number; sources: SourceReport[] }> {
  const { status, body } = await ask(service.port, { method: "GET", target: "/readyz" });
  const { sources } = JSON.parse(body) as { sources: SourceReport[] };
  return { status, sources };
}

export async function sourceOf(service: Service): Promise<SourceReport> {
  return (await readyz(service)).sources[0]!;
}

/** Over all partitions; 0 if the broker does not report it. */
export function lagOf({ lags = [] }: SourceReport): number {
  return lags.reduce((sum, { lag }) => sum + lag, 0);
}

export function isConsuming(service: Service): Promise<true> {
  const isIt = async () => (await sourceOf(service)).status === "consuming";
  return waitFor("the queue to be consumed", isIt, SLOWLY);
}

export async function ledgerOf(service: Service): Promise<InstanceLedger> {
  const { body } = await ask(service.port, { method: "GET", target: "/ledger" });
  return (JSON.parse(body) as { instance: InstanceLedger }).instance;
}

/** Messages that this process of the service has had, by what became of them. */
export async function messagesOf(service: Service, source: string, outcome: string): Promise<number> {
  const samples = await scrape(service.port);
  return samples.get(`hourglass_source_messages_total{source="${source}",outcome="${outcome}"}`)!;
}

export async function idsOf(site: Site, stream: string): Promise<(string | null)[]> {
  return (await site.cold.events(stream)).map(({ id }) => id).sort();
}

export async function rowsOf(site: Site, stream: string, count: number): Promise<(string | null)[]> {
  const ids = async () => {
    const found = await site.cold.countEvents(stream);
    if (found < count) throw new Error(`${found} rows`);
    return await idsOf(site, stream);
  };
  return await waitFor(`${count} rows of ${stream}`, ids, SLOWLY);
}

export async function poison(site: Site, service: Service, ...args: string[]) {
  const settings = { ...site.commandSettings(service), PORT: String(service.port) };
  return await runCommand(settings, "poison", ...args);
}

export async function poisonPieces(site: Site, service: Service): Promise<StoredPoison[]> {
  const { output } = await poison(site, service, "list", "--json");
  const lines = output.split("\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line) as StoredPoison);
}

export function disposable(service: Service) {
  return { service, [Symbol.asyncDispose]: () => service.stop() };
}

/**
 * Reads while the clients post. An hour's count that is not marked as degraded must contain every event acknowledged
 * before the read was sent, and none that nobody sent.
 */
import { hourKeyName } from "../../../src/domain/event.ts";
import { withDeadline } from "../../../src/runtime/clock.ts";
import { Random } from "../../harness/pipeline/random.ts";
import { hourTarget } from "../../harness/service/analytics-client.ts";
import { ask } from "../../harness/service/http-connection.ts";
import type { Clients } from "../load/clients.ts";
import { addTo } from "./report.ts";

export interface WatcherOptions {
  readonly clients: Clients;
  readonly ports: readonly number[];
  readonly streams: readonly string[];
  readonly hours: readonly number[];
  readonly seed: number;
  readonly pauseMs: number;
  /** Anything but a whole answer is a problem too. */
  readonly mustAnswer: boolean;
  /** How long a count may lack events after a failover to a replica that lags (docs/redis-cluster.md). Default: 0. */
  readonly lagMs?: number;
}

const COUNTS = /^unique_users,\d+\nclicks,(\d+)\nimpressions,(\d+)\n$/;
const PATIENCE_MS = 8_000;

export class Watcher {
  readonly problems: string[] = [];
  readonly outcomes = new Map<string, number>();
  readonly #options: WatcherOptions;
  readonly #random: Random;
  readonly #startedMs = performance.now();
  readonly #watching: Promise<void>;
  #isEnding = false;

  constructor(options: WatcherOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#watching = this.#watch();
  }

  async stop(): Promise<void> {
    this.#isEnding = true;
    await this.#watching;
  }

  async #watch(): Promise<void> {
    const { mustAnswer, pauseMs } = this.#options;
    while (!this.#isEnding) {
      const outcome = await this.#look().catch(() => "no answer");
      addTo(this.outcomes, outcome);
      if (mustAnswer && outcome !== "whole") this.#problem(`a read was answered with: ${outcome}`);
      await Bun.sleep(pauseMs);
    }
  }

  /** Throws if nobody answers. */
  async #look(): Promise<string> {
    const { clients, ports, streams, hours } = this.#options;
    const [port, stream, hour] = [this.#random.pick(ports), this.#random.pick(streams), this.#random.pick(hours)];
    const tally = clients.tallyOf(hourKeyName(stream, hour));
    const acknowledged = tally.acknowledged;
    const asked = ask(port, { method: "GET", target: hourTarget(hour, stream) });
    const answer = await withDeadline(asked, PATIENCE_MS, () => new Error("no answer in time"));
    if (answer.status === 503) return `503 ${answer.body.slice(0, 60)}`;
    const [, clicks, impressions] = COUNTS.exec(answer.body) ?? [];
    if (answer.status !== 200 || impressions === undefined) {
      this.#problem(`a read was answered with ${answer.status} ${answer.body}`);
      return String(answer.status);
    }
    if (answer.headers.has("hourglass-degraded")) return "degraded";
    const count = Number(clicks) + Number(impressions);
    const what = `:${port} counted ${count} events in ${hourKeyName(stream, hour)}`;
    if (count < acknowledged) {
      if (await this.#catchesUp(port, hourTarget(hour, stream), acknowledged)) return "lagging";
      this.#problem(`${what}, when ${acknowledged} had been acknowledged`);
    }
    if (count > tally.sent) this.#problem(`${what}, when only ${tally.sent} had been sent`);
    return "whole";
  }

  async #catchesUp(port: number, target: string, acknowledged: number): Promise<boolean> {
    const { lagMs = 0, pauseMs } = this.#options;
    const endMs = performance.now() + lagMs;
    while (performance.now() < endMs) {
      const answer = await ask(port, { method: "GET", target });
      const [, clicks, impressions] = COUNTS.exec(answer.body) ?? [];
      if (answer.headers.has("hourglass-degraded") || Number(clicks) + Number(impressions) >= acknowledged) return true;
      await Bun.sleep(pauseMs);
    }
    return false;
  }

  #problem(text: string): void {
    this.problems.push(`${Math.round(performance.now() - this.#startedMs)} ms: ${text}`);
  }
}

/**
 * Publishes numbered messages, one event each, until the broker has confirmed all of them. A separate program: see
 * child-program.ts.
 *
 * Invariant: an unconfirmed message is sent again under the same message id, so the queue may hold it twice. No number
 * is skipped.
 */
import { type ConfirmChannel, connect } from "amqplib";
import { runAsChild } from "./child-program.ts";

export interface QueuePublisherOptions {
  readonly url: string;
  readonly queue: string;
  readonly messages: number;
  /** The hour of the first event; the others follow a millisecond apart, within the hour. */
  readonly hour: number;
  /** The prefix of users and message ids. */
  readonly prefix: string;
  /** Messages a second, while it is connected; undefined: as many as the broker confirms. */
  readonly ratePerS: number | undefined;
}

export interface QueuePublisherResult {
  readonly sendings: number;
  readonly connections: number;
  readonly seconds: number;
}

const UNCONFIRMED_MAX = 1_000;
const RETRY_MS = 100;
const TIMES = 3_600_000;
const TICK_MS = 10;

class Publisher {
  readonly #options: QueuePublisherOptions;
  readonly #unconfirmed = new Set<number>();
  #next = 0;
  #confirmed = 0;
  /** How many may have been begun by now. */
  #allowed = 0;
  sendings = 0;
  connections = 0;

  constructor(options: QueuePublisherOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    while (this.#confirmed < this.#options.messages) {
      await this.#connected().catch(() => {});
      if (this.#confirmed < this.#options.messages) await Bun.sleep(RETRY_MS);
    }
  }

  /** Until all are confirmed, or the connection is lost. */
  async #connected(): Promise<void> {
    const model = await connect(this.#options.url, { timeout: 5_000, noDelay: true });
    this.connections += 1;
    const lost = new Promise<void>((resolve) => model.on("close", () => resolve()));
    model.on("error", () => {});
    const channel = await model.createConfirmChannel();
    channel.on("error", () => {});
    await Promise.race([this.#publish(channel), lost]);
    await model.close().catch(() => {});
  }

  #publish(channel: ConfirmChannel): Promise<void> {
    const again = [...this.#unconfirmed];
    let underWay = 0;
    let isOver = false;
    let pacing: Timer | undefined;
    return new Promise<void>((resolve) => {
      const more = () => {
        while (underWay < UNCONFIRMED_MAX && !isOver) {
          const number = again.pop() ?? this.#take();
          if (number === undefined) break;
          underWay += 1;
          this.#send(channel, number, (isConfirmed) => {
            underWay -= 1;
            if (!isConfirmed) isOver = true;
            else if (this.#unconfirmed.delete(number)) this.#confirmed += 1;
            more();
          });
        }
        if (underWay === 0 && (isOver || this.#next >= this.#options.messages)) resolve();
      };
      pacing = setInterval(() => {
        this.#allow();
        more();
      }, TICK_MS);
      channel.on("close", () => resolve());
    }).finally(() => clearInterval(pacing));
  }

  #allow(): void {
    const { ratePerS, messages } = this.#options;
    this.#allowed = ratePerS === undefined ? messages : this.#allowed + (ratePerS * TICK_MS) / 1_000;
  }

  #take(): number | undefined {
    if (this.#next >= Math.min(this.#options.messages, this.#allowed)) return undefined;
    this.#unconfirmed.add(this.#next);
    return this.#next++;
  }

  #send(channel: ConfirmChannel, number: number, told: (isConfirmed: boolean) => void): void {
    const { queue, hour, prefix } = this.#options;
    const name = `${prefix}${number}`;
    const kind = number % 2 === 0 ? "click" : "impression";
    const event = { timestamp: hour + (number % TIMES), user: name, event: kind };
    const options = { persistent: true, messageId: name, contentType: "application/json" };
    this.sendings += 1;
    try {
      channel.sendToQueue(queue, Buffer.from(JSON.stringify(event)), options, (error) => told(error === null));
    } catch {
      queueMicrotask(() => told(false));
    }
  }
}

await runAsChild<QueuePublisherOptions, QueuePublisherResult>(async (options) => {
  const startMs = performance.now();
  const publisher = new Publisher(options);
  await publisher.run();
  const { sendings, connections } = publisher;
  return { sendings, connections, seconds: (performance.now() - startMs) / 1_000 };
});

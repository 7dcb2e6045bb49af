/**
 * Sends events to the service until each is answered.
 *
 * Invariant: an event that was refused, has an unknown outcome or whose answer was lost is sent again unchanged, with
 * its id. So it counts once, however often it arrives.
 */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { backoffMs } from "../../runtime/clock.ts";
import { codeOf, errorText } from "../../runtime/error-text.ts";
import { CertificateError, type ServiceClient } from "../shared/service-client.ts";
import { ImportError } from "./import-error.ts";
import { isTooOld } from "./progress.ts";

interface SenderOptions {
  readonly service: Pick<ServiceClient, "url" | "ask">;
  /** Confirms times before 2001. */
  readonly isOld: boolean;
  readonly retryForMs: number;
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  readonly onSetback: (reason: string) => void;
}

interface Shipment {
  readonly events: readonly string[];
  /** None of them was sent earlier. */
  readonly sentAt: number;
}

/** The outcome of a shipment: accepted + duplicates + invalid are all its events. */
export interface Delivery {
  accepted: number;
  duplicates: number;
  invalid: number;
  /** The first invalid events, by position in the shipment. */
  readonly problems: { readonly position: number; readonly problem: string }[];
}

const count = Type.Integer({ minimum: 0 });
const UnstoredSchema = Type.Array(
  Type.Object({ message: Type.String(), indexes: Type.Array(Type.Tuple([count, count])) }),
);
const AnswerSchema = Type.Object({
  events: count,
  accepted: count,
  duplicates: count,
  invalid: count,
  refused: count,
  unknown: count,
  errors: Type.Array(Type.Object({ index: count, message: Type.String() })),
  refusals: Type.Optional(UnstoredSchema),
  unknowns: Type.Optional(UnstoredSchema),
});
const ErrorSchema = Type.Object({ error: Type.Object({ message: Type.String() }) });

/** The events are not counted, or the outcome is unknown: send them again. */
interface Setback {
  readonly reason: string;
  readonly retryAfterMs: number;
}

const ANSWER_TIMEOUT_MS = 30_000;
const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 10_000;
/** Waits up to this share longer than the service says, to spread retries. */
const RETRY_AFTER_JITTER = 0.25;
const SHOWN_CHARS = 300;
/** A service or proxy that is overloaded or temporarily unavailable answers with these. */
const RETRIED_BELOW_500 = new Set([408, 425, 429]);

export class Sender {
  readonly #options: SenderOptions;
  readonly #target: string;
  readonly #stopped = new AbortController();

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#target = `${options.service.url}/events`;
  }

  /** Throws ImportError if it is refused, or retries take too long. How much is counted is then unknown. */
  async send({ events, sentAt }: Shipment): Promise<Delivery> {
    const { now, retryForMs, sleep, onSetback } = this.#options;
    const delivery: Delivery = { accepted: 0, duplicates: 0, invalid: 0, problems: [] };
    let positions = events.map((_, position) => position);
    let lastProgressAt = now();
    for (let attempt = 0; positions.length > 0; attempt++) {
      if (isTooOld(sentAt, now())) throw new ImportError(this.#tooLate());
      const outcome = await this.#post(positions.map((position) => events[position]!));
      let setback: Setback;
      if ("reason" in outcome) {
        setback = outcome;
      } else {
        const refused = take(outcome, positions, delivery);
        if (refused.positions.length === 0) return delivery;
        if (refused.positions.length < positions.length) {
          lastProgressAt = now();
          attempt = 0;
        }
        positions = refused.positions;
        setback = refused;
      }
      const waitMs = waitFor(setback, attempt);
      if (now() + waitMs - lastProgressAt > retryForMs) throw new ImportError(this.#givenUp(setback, attempt));
      onSetback(setback.reason);
      await sleep(waitMs);
    }
    return delivery;
  }

  stop(): void {
    this.#stopped.abort();
  }

  async #post(events: readonly string[]): Promise<Answered | Setback> {
    const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);
    try {
      const response = await this.#options.service.ask(this.#options.isOld ? "/events?old=1" : "/events", {
        method: "POST",
        headers: { "content-type": "application/x-ndjson", accept: "application/json" },
        body: events.join("\n"),
        redirect: "manual",
        signal,
      });
      return this.#outcomeOf(response, await response.text(), events.length);
    } catch (error) {
      if (error instanceof CertificateError) throw new ImportError(error.message);
      if (error instanceof ImportError || this.#stopped.signal.aborted) throw error;
      return { reason: `no answer: ${lossText(error)}`, retryAfterMs: 0 };
    }
  }

  #outcomeOf(response: Response, body: string, eventCount: number): Answered | Setback {
    const { status, headers } = response;
    const value = parsed(body);
    // A 422 with counts: no event is valid.
    if (status === 200 || status === 207 || (status === 422 && Value.Check(AnswerSchema, value))) {
      if (Value.Check(AnswerSchema, value) && doesAddUp(value, eventCount)) {
        return { answer: value, retryAfterMs: retryAfterMs(headers, this.#options.now()) };
      }
      throw new ImportError(`${this.#target} answered ${shown(body)}: it is not a Hourglass service`);
    }
    const message = Value.Check(ErrorSchema, value) ? value.error.message : shown(body);
    const reason = `it answered ${status}: ${message}`;
    if (status >= 500 || RETRIED_BELOW_500.has(status)) {
      return { reason, retryAfterMs: retryAfterMs(headers, this.#options.now()) };
    }
    throw new ImportError(`${this.#target} refuses this: ${reason}`);
  }

  #givenUp({ reason }: Setback, attempt: number): string {
    const { retryForMs } = this.#options;
    const tries = attempt === 0 ? "once" : `${attempt + 1} times`;
    return (
      `${this.#target} does not accept events (tried ${tries}, for up to ${retryForMs / 1_000} s): ${reason}; ` +
      "run it again when it does: it resumes where it stopped"
    );
  }

  #tooLate(): string {
    return (
      `events were sent to ${this.#target} almost a day ago and not answered: the service may have forgotten their ` +
      "ids, so sending them again could count them twice; run it again to decide"
    );
  }
}

/** The runtime's own messages are made for programmers. */
function lossText(error: unknown): string {
  const code = codeOf(error);
  if (code === "ECONNREFUSED" || code === "ConnectionRefused") return "connection refused (ECONNREFUSED)";
  return code === "ECONNRESET" ? "the connection was lost (ECONNRESET)" : errorText(error);
}

interface Answered {
  readonly answer: Static<typeof AnswerSchema>;
  readonly retryAfterMs: number;
}

/** Adds the answer to `delivery`, and returns what to send again. `positions`: of the sent events. */
function take({ answer, retryAfterMs }: Answered, positions: readonly number[], delivery: Delivery) {
  delivery.accepted += answer.accepted;
  delivery.duplicates += answer.duplicates;
  delivery.invalid += answer.invalid;
  for (const { index, message } of answer.errors) {
    delivery.problems.push({ position: positions[index]!, problem: message });
  }
  const unstored = unstoredIn(answer);
  const ranges = unstored.flatMap(({ indexes }) => indexes);
  const again = ranges.flatMap(([first, last]) => positions.slice(first, last + 1));
  const reason = unstored.map(({ message }) => message).join("; ");
  return { positions: again.sort((a, b) => a - b), reason, retryAfterMs };
}

function unstoredIn({ refusals = [], unknowns = [] }: Answered["answer"]) {
  return [...refusals, ...unknowns];
}

/** Whether every event has one outcome, and those to send again are named. */
function doesAddUp(answer: Answered["answer"], eventCount: number): boolean {
  const { events, accepted, duplicates, invalid, refused, unknown, errors } = answer;
  const named = unstoredIn(answer).flatMap(({ indexes }) => indexes);
  const namedCount = named.reduce((sum, [first, last]) => sum + last - first + 1, 0);
  const isWithin = [...named.flat(), ...errors.map(({ index }) => index)].every((index) => index < eventCount);
  const isWhole = events === eventCount && accepted + duplicates + invalid + refused + unknown === events;
  return isWhole && isWithin && namedCount === refused + unknown && named.every(([first, last]) => first <= last);
}

function waitFor({ retryAfterMs }: Setback, attempt: number): number {
  const toldMs = retryAfterMs * (1 + RETRY_AFTER_JITTER * Math.random());
  return Math.max(toldMs, backoffMs(attempt, FIRST_BACKOFF_MS, MAX_BACKOFF_MS, Math.random));
}

/** Parses seconds or a date; 0 for anything else. */
function retryAfterMs(headers: Headers, now: number): number {
  const text = headers.get("retry-after") ?? "";
  const at = /^\d{1,9}$/.test(text) ? now + Number(text) * 1_000 : Date.parse(text);
  return Number.isNaN(at) ? 0 : Math.max(0, at - now);
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function shown(body: string): string {
  return JSON.stringify(body.length > SHOWN_CHARS ? `${body.slice(0, SHOWN_CHARS)}…` : body);
}

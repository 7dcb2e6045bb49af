/**
 * `hourglass poison`: messages from a broker that could not become events.
 *
 * A replay sends each event to the service with its original id. So it counts once, even if the replay is killed before
 * it deletes the message here, or if the broker redelivers it.
 */
import type { Command } from "commander";
import { errorText } from "../runtime/error-text.ts";
import type { PoisonStore, StoredPoison } from "../store/cold.ts";
import { URL_HELP, urlArgument } from "./arguments.ts";
import { ServiceClient } from "./shared/service-client.ts";
import { addSetAside, type SetAside } from "./shared/set-aside.ts";
import { requireData, withColdStore } from "./shared/with-stores.ts";

/** Few bodies are large, but one may be megabytes. */
const PIECES_PER_READ = 20;
const SHOWN_CHARS = 300;
const ANSWER_TIMEOUT_MS = 30_000;

export function addPoison(program: Command): void {
  const group = program
    .command("poison")
    .description("messages from a queue that could not become events, as they were received (docs/queue.md)");
  const help = {
    list: "show them, and why",
    json: "one JSON object per line, with the whole text",
    replay: "send them to the service",
  };
  addSetAside<StoredPoison>(group, help, async (config, { url }, work) => {
    requireData(config);
    const service = new ServiceClient(config, url);
    return await withColdStore(config, (cold) => work(piecesOf(cold, service)));
  }).option("--url <url>", URL_HELP, urlArgument);
}

function piecesOf(cold: PoisonStore, service: ServiceClient): SetAside<StoredPoison> {
  return {
    ...{ what: "piece of poison", several: "pieces of poison", perRead: PIECES_PER_READ, text: pieceText },
    read: (after, limit) => cold.poison(after, limit),
    replay: async (piece) => {
      const refused = await refusalOf(piece, service);
      if (refused !== undefined) return { refused };
      await cold.dropPoison(piece.number);
      return undefined;
    },
    drop: ({ number }) => cold.dropPoison(number),
  };
}

interface Answer {
  readonly accepted?: number;
  readonly duplicates?: number;
  readonly errors?: readonly { readonly message: string }[];
  readonly error?: { readonly message: string };
}

/** Sends the event; returns why it was refused, or undefined once it counts. */
async function refusalOf(piece: StoredPoison, service: ServiceClient): Promise<string | undefined> {
  if (piece.position === undefined)
    return "the message could not be split into events: correct it and publish it again";
  const event = objectIn(piece.body);
  // Between brackets it could be several events, which would count though the answer is not that of one.
  if (event === undefined) return "it is not one JSON object: correct it and publish it again";
  // The service would count it at the time of the replay, whenever it happened.
  if (event["timestamp"] === undefined) return "it has no timestamp: publish it again with one";
  try {
    const response = await service.ask("/events", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: `[${withId(piece, event)}]`,
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    const { accepted = 0, duplicates = 0, errors, error } = (await response.json()) as Answer;
    if (accepted + duplicates === 1) return undefined;
    return errors?.[0]?.message ?? error?.message ?? `the service answered ${response.status}`;
  } catch (error) {
    return `${service.url} does not answer: ${errorText(error)}`;
  }
}

function objectIn(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Edits the text, so that the rest stays as received. */
function withId({ body, eventId }: StoredPoison, event: Readonly<Record<string, unknown>>): string {
  if (eventId === undefined || Object.hasOwn(event, "id")) return body;
  return body.replace("{", () => `{"id": ${JSON.stringify(eventId)}, `);
}

function pieceText({ number, origin, messageId, position, body, reason, setAsideAt }: StoredPoison): string {
  const message = messageId === undefined ? "a message without id" : `message ${JSON.stringify(messageId)}`;
  const what = position === undefined ? message : `event ${position} of ${message}`;
  const shown = body.length > SHOWN_CHARS ? `${body.slice(0, SHOWN_CHARS)}…` : body;
  return `${number}  ${origin}  ${what}\n    set aside ${setAsideAt}: ${reason}\n    ${JSON.stringify(shown)}`;
}

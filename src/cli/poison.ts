/**
 * `hourglass poison`: what came from a queue and could not become an event.
 *
 * Replayed, it goes the way of any event, through the service, under the id that it would have had: so it counts
 * once, also if this is cut off between the answer and the note of it, or the message came again meanwhile.
 */

import { errorText } from "../runtime/deadline.ts";
import type { Config } from "../settings/settings.ts";
import type { ColdStore, StoredPoison } from "../store/cold.ts";
import { keyHeaders } from "./service/key-headers.ts";
import { ownUrl } from "./service/own-url.ts";
import { type Choice, chosen, every, isAll, type SetAside } from "./stores/set-aside.ts";
import { withColdStore } from "./stores/with-stores.ts";

/** Each may have a body of megabytes, though few do. */
const PIECES_PER_READ = 20;
const SHOWN_CHARS = 300;
const ANSWER_TIMEOUT_MS = 30_000;

function piecesOf(cold: ColdStore): SetAside<StoredPoison> {
  const read = (after: number, limit: number) => cold.poison(after, limit);
  return { what: "poison", perRead: PIECES_PER_READ, read };
}

/** Each command answers the exit code. */
export async function listPoison(config: Config, isJson: boolean): Promise<number> {
  return await withColdStore(config, async (cold) => {
    let count = 0;
    for await (const piece of every(piecesOf(cold))) {
      count += 1;
      console.log(isJson ? JSON.stringify(piece) : pieceText(piece));
    }
    if (!isJson) console.log(`${count} pieces of poison`);
    return 0;
  });
}

/** `url`: of the service; undefined: as HOST and PORT say. */
export async function replayPoison(config: Config, choice: Choice, url = ownUrl(config)): Promise<number> {
  return await withColdStore(config, async (cold) => {
    let [replayed, refused] = [0, 0];
    for await (const piece of chosen(piecesOf(cold), choice)) {
      const problem = await replay(piece, url, config.apiKey);
      if (problem === undefined) {
        replayed += 1;
        await cold.dropPoison(piece.number);
      } else {
        refused += 1;
        console.log(`${piece.number}: not taken: ${problem}`);
      }
    }
    console.log(`${replayed} replayed, ${refused} not`);
    return refused === 0 && isAll(choice, replayed) ? 0 : 1;
  });
}

export async function dropPoison(config: Config, choice: Choice): Promise<number> {
  return await withColdStore(config, async (cold) => {
    let dropped = 0;
    for await (const piece of chosen(piecesOf(cold), choice)) {
      if (await cold.dropPoison(piece.number)) dropped += 1;
    }
    console.log(`${dropped} dropped`);
    return isAll(choice, dropped) ? 0 : 1;
  });
}

interface Answer {
  readonly accepted?: number;
  readonly duplicates?: number;
  readonly errors?: readonly { readonly message: string }[];
  readonly error?: { readonly message: string };
}

/** Answers what is wrong; undefined once it counts. */
async function replay(
  piece: StoredPoison,
  url: string,
  apiKey: string | undefined,
): Promise<string | undefined> {
  if (piece.position === undefined)
    return "it is a message that could not be taken apart: send it anew, mended";
  try {
    const response = await fetch(`${url}/events`, {
      method: "POST",
      headers: { "content-type": "application/json", ...keyHeaders(apiKey) },
      body: `[${withId(piece)}]`,
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    const { accepted = 0, duplicates = 0, errors, error } = (await response.json()) as Answer;
    if (accepted + duplicates === 1) return undefined;
    return error?.message ?? errors?.[0]?.message ?? `the service answered ${response.status}`;
  } catch (error) {
    return `${url} does not answer: ${errorText(error)}`;
  }
}

/** As text, so that all that is wrong with it stays so. */
function withId({ body, eventId }: StoredPoison): string {
  if (eventId === undefined || hasId(body)) return body;
  return body.replace(/^\s*\{/, () => `{"id": ${JSON.stringify(eventId)}, `);
}

function hasId(body: string): boolean {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value !== "object" || value === null || Object.hasOwn(value, "id");
  } catch {
    return true;
  }
}

function pieceText({ number, origin, messageId, position, body, reason, setAsideAt }: StoredPoison): string {
  const message = messageId === undefined ? "a message without id" : `message ${JSON.stringify(messageId)}`;
  const what = position === undefined ? message : `event ${position} of ${message}`;
  const shown = body.length > SHOWN_CHARS ? `${body.slice(0, SHOWN_CHARS)}…` : body;
  return `${number}  ${origin}  ${what}\n    set aside ${setAsideAt}: ${reason}\n    ${JSON.stringify(shown)}`;
}

/**
 * Reads a message into events, by the same rules as the body of a POST /events, and into what can't be events.
 *
 * Invariant: the same message, delivered again, gives the same events under the same ids, and the same poison
 * under the same digests: so that each counts once, and is set aside once.
 */

import { createHash } from "node:crypto";
import type { Event } from "../domain/event.ts";
import { hasReplacement, isUserLength } from "../domain/user-text.ts";
import { BODY_MAX_BYTES, checkSize, encodingOf, unpack } from "../protocol/body/encoding.ts";
import { formatOf, textOf } from "../protocol/body/format.ts";
import { firstNonSpace } from "../protocol/body/pieces.ts";
import { type BodyFormat, EVENTS_MAX, readEvents } from "../protocol/body/read-events.ts";
import { RefusedBodyError } from "../protocol/body/refused-body.ts";
import type { Poison } from "../store/cold/poison-store.ts";

export interface Message {
  /** What its sender named it; undefined if it has no name. */
  readonly id: string | undefined;
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  /** Null: it holds nothing, as a tombstone of Kafka's. */
  readonly body: Buffer | null;
  /** Why its broker's driver could not read it; it is set aside then. */
  readonly fault?: string;
}

export interface MessageContent {
  readonly events: readonly Event[];
  readonly poison: readonly Poison[];
}

export interface ReadingOptions {
  /** Where the message came from. */
  readonly origin: string;
  readonly now: number;
  /** Events of before are not kept. */
  readonly earliest: number;
  /** False for a stream that would be one too many. */
  readonly admits: (stream: string) => boolean;
}

/** Without a type it is taken for JSON, which most who leave it out send. */
const DEFAULT_TYPE = "application/json";
const REASON_MAX_CHARS = 500;

export async function readMessage(message: Message, options: ReadingOptions): Promise<MessageContent> {
  const { body, fault } = message;
  if (body === null) return { events: [], poison: [] };
  if (fault !== undefined) return unreadable(message, body, fault, options);
  try {
    return await take(message, body, options);
  } catch (error) {
    if (!(error instanceof RefusedBodyError)) throw error;
    return unreadable(message, body, error.message, options);
  }
}

function unreadable(message: Message, bytes: Buffer, reason: string, { origin }: ReadingOptions): MessageContent {
  const body = bytes.subarray(0, BODY_MAX_BYTES).toString();
  const piece = { position: undefined, eventId: undefined, body, reason };
  return { events: [], poison: [poisonOf(message, origin, piece)] };
}

async function take(message: Message, body: Buffer, options: ReadingOptions): Promise<MessageContent> {
  const { origin, now, earliest, admits } = options;
  const { id, contentEncoding = null, contentType = DEFAULT_TYPE } = message;
  const asked = formatOf(contentType);
  checkSize(body.length);
  const text = textOf(await unpack(body, encodingOf(contentEncoding)));
  const format = asked === "array" ? jsonFormat(text) : asked;
  const batch = await readEvents(text, {
    ...{ format, now, earliest, admits, invalidMaxListed: EVENTS_MAX },
    // A message may be delivered again, at another time.
    defaultAt: undefined,
  });
  const name = usableName(id);
  const eventIdAt = (index: number) => eventIdOf(name, format === "object" ? undefined : index);
  const events = batch.events.map((event, i) => withId(event, eventIdAt(batch.indexes[i]!)));
  const poison = batch.invalid.map(({ index, text: piece, error }) => {
    const found = { position: index, eventId: eventIdAt(index), body: piece, reason: error.message };
    return poisonOf(message, origin, found);
  });
  return { events, poison };
}

function jsonFormat(text: string): BodyFormat {
  return text[firstNonSpace(text, 0)] === "[" ? "array" : "object";
}

function withId(event: Event, id: string | undefined): Event {
  return event.id !== undefined || id === undefined ? event : { ...event, id };
}

/** A name with bytes that were no UTF-8 is none: two such names may look the same. */
function usableName(id: string | undefined): string | undefined {
  return id === undefined || id === "" || hasReplacement(id) ? undefined : id;
}

/** `index`: of the event, if the message may have several. */
function eventIdOf(name: string | undefined, index: number | undefined): string | undefined {
  if (name === undefined) return undefined;
  const suffix = index === undefined ? "" : `#${index}`;
  return isUserLength(name + suffix) ? name + suffix : `sha256-${hashOf(name)}${suffix}`;
}

function poisonOf(message: Message, origin: string, piece: Omit<Poison, "digest" | "origin" | "messageId">) {
  const { id: messageId } = message;
  const reason = piece.reason.toWellFormed().slice(0, REASON_MAX_CHARS);
  const digest = hashOf(JSON.stringify([origin, messageId ?? null, piece.position ?? null, piece.body]));
  return { ...piece, origin, messageId, reason, digest } satisfies Poison;
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/**
 * Reads a message into events, by the same rules as the body of a POST /events, and into poison.
 *
 * Invariant: a redelivered message gives the same events under the same ids, and the same poison under the same
 * digests. So each event counts once, and each piece of poison is set aside once.
 */
import { createHash } from "node:crypto";
import type { Event } from "../domain/event.ts";
import { hasReplacement, isUserLength, USER_MAX_BYTES } from "../domain/user-text.ts";
import { checkSize, encodingOf, unpack } from "../protocol/body/encoding.ts";
import { formatOf, textOf } from "../protocol/body/format.ts";
import { BODY_MAX_BYTES, EVENTS_MAX } from "../protocol/body/limits.ts";
import { firstNonSpace } from "../protocol/body/pieces.ts";
import {
  type BodyFormat,
  type ReadingOptions as BodyRules,
  type EventBatch,
  readEvents,
  readEventsAtOnce,
} from "../protocol/body/read-events.ts";
import { RefusedBodyError } from "../protocol/body/refused-body.ts";
import { plainEvent, type TimeRules } from "../protocol/event/from-object.ts";
import type { Poison } from "../store/cold.ts";

export interface Message {
  /** The id that the sender gave it, if any; of at most 300 bytes, since each event of the message may repeat it. */
  readonly id: string | undefined;
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  /** Null if it is empty, like a tombstone of Kafka's. */
  readonly body: MessageBody | null;
  /** Why the broker's driver could not read it; such a message is set aside. */
  readonly fault?: string;
}

/** A part of the bytes that a broker sent. Mostly only its text is needed, and a Buffer of its own would cost more. */
export class MessageBody {
  readonly #source: Buffer;
  readonly #start: number;
  readonly #end: number;

  constructor(source: Buffer, start = 0, end = source.length) {
    this.#source = source;
    this.#start = start;
    this.#end = end;
  }

  get length(): number {
    return this.#end - this.#start;
  }

  get bytes(): Buffer {
    return this.#source.subarray(this.#start, this.#end);
  }

  get text(): string {
    return textOf(this.#source, this.#start, this.#end);
  }
}

export interface MessageContent {
  readonly events: readonly Event[];
  readonly poison: readonly Poison[];
}

export interface ReadingOptions extends TimeRules {
  /** Where the message came from. */
  readonly origin: string;
  /** A default would differ when the message is redelivered. */
  readonly defaultAt: undefined;
  /** False for a new stream that would exceed MAX_STREAMS. */
  readonly admits: (stream: string) => boolean;
}

/** Most senders who omit the type send JSON. */
const DEFAULT_TYPE = "application/json";
const REASON_MAX_CHARS = 500;
/** Takes about 0.1 ms to read. */
const SHORT_MAX_BYTES = 16_384;

export async function readMessage(message: Message, options: ReadingOptions): Promise<MessageContent> {
  const { body, fault } = message;
  if (body === null) return { events: [], poison: [] };
  if (fault !== undefined) return unreadable(message, body, fault, options);
  try {
    return await take(message, body.bytes, options);
  } catch (error) {
    if (!(error instanceof RefusedBodyError)) throw error;
    return unreadable(message, body, error.message, options);
  }
}

function unreadable(message: Message, whole: MessageBody, reason: string, { origin }: ReadingOptions): MessageContent {
  const body = whole.bytes.subarray(0, BODY_MAX_BYTES).toString();
  const piece = { position: undefined, eventId: undefined, body, reason };
  return { events: [], poison: [poisonOf(message, origin, piece)] };
}

/** Like readMessage(), but never yields. Undefined if the message is long, compressed or refused. */
export function readShortMessage(message: Message, options: ReadingOptions): MessageContent | undefined {
  const { body, fault, contentEncoding } = message;
  if (body === null || body.length > SHORT_MAX_BYTES || fault !== undefined || contentEncoding !== undefined)
    return undefined;
  try {
    const { text } = body;
    const plain = plainContent(message, text, options);
    if (plain !== undefined) return plain;
    const rules = rulesFor(message, text, options);
    return contentOf(message, rules.format, readEventsAtOnce(text, rules), options);
  } catch (error) {
    if (!(error instanceof RefusedBodyError)) throw error;
    return undefined;
  }
}

const NO_POISON: readonly Poison[] = [];

/** Reads one event in the most common form, in half the time. Undefined for any other content. */
function plainContent(message: Message, text: string, options: ReadingOptions): MessageContent | undefined {
  const isLine = formatNamedBy(message) === "ndjson";
  const lineEnd = isLine ? text.indexOf("\n") : -1;
  if (lineEnd !== -1 && lineEnd !== text.length - 1) return undefined;
  const event = plainEvent(text, 0, text.length, options);
  if (event === undefined || !options.admits(event.stream)) return undefined;
  const id = event.id ?? eventIdOf(usableName(message.id), isLine ? 0 : undefined);
  return { events: [withId(event, id)], poison: NO_POISON };
}

async function take(message: Message, body: Buffer, options: ReadingOptions): Promise<MessageContent> {
  checkSize(body.length);
  const unpacked = await unpack(body, encodingOf(message.contentEncoding ?? null));
  const text = textOf(unpacked);
  const rules = rulesFor(message, text, options);
  return contentOf(message, rules.format, await readEvents(text, rules), options);
}

/** "array" also stands for JSON with a single event. Throws RefusedBodyError. */
function formatNamedBy({ contentType = DEFAULT_TYPE }: Message): BodyFormat {
  return formatOf(contentType);
}

function rulesFor(message: Message, text: string, options: ReadingOptions): BodyRules {
  const named = formatNamedBy(message);
  const format = named === "array" && text[firstNonSpace(text, 0)] !== "[" ? "object" : named;
  return { ...options, format, invalidMaxListed: EVENTS_MAX };
}

function contentOf(message: Message, format: BodyFormat, batch: EventBatch, { origin }: ReadingOptions) {
  const name = usableName(message.id);
  const eventIdAt = (index: number) => eventIdOf(name, format === "object" ? undefined : index);
  const events = batch.events.map((event, i) => withId(event, eventIdAt(batch.indexes[i]!)));
  const poison = batch.invalid.map(({ index, text: piece, error }) => {
    const found = { position: index, eventId: eventIdAt(index), body: piece, reason: error.message };
    return poisonOf(message, origin, found);
  });
  return { events, poison } satisfies MessageContent;
}

function withId(event: Event, id: string | undefined): Event {
  if (event.id !== undefined || id === undefined) return event;
  // Member by member: spreading takes as long as all other work on a short message.
  const { stream, at, kind, user } = event;
  return { stream, at, kind, user, id };
}

/** A long id by its hash, if it is UTF-8: two that are not may look the same. */
export function shortIdOf(id: string): string | undefined {
  if (Buffer.byteLength(id) <= USER_MAX_BYTES) return id;
  return hasReplacement(id) ? undefined : `sha256-${hashOf(id)}`;
}

/** Ignores ids that are not UTF-8, since two of them may look the same. */
function usableName(id: string | undefined): string | undefined {
  return id === undefined || id === "" || hasReplacement(id) ? undefined : id;
}

/** `index` is the event's, if the message may have several. */
function eventIdOf(name: string | undefined, index: number | undefined): string | undefined {
  if (name === undefined) return undefined;
  const suffix = index === undefined ? "" : `#${index}`;
  const id = name + suffix;
  return isUserLength(id) ? id : `sha256-${hashOf(name)}${suffix}`;
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

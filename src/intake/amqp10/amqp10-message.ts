/** Reads a message of AMQP 1.0: its bytes, or its text, as JMS clients send it. */
import type { Message as Amqp10Message } from "rhea";
import { type Message, MessageBody } from "../message-content.ts";

/** A section of the body, as the client represents it. */
interface BodySection {
  readonly typecode: number;
  readonly content: unknown;
}

const DATA_SECTION = 0x75;

export function messageOf({ message_id, content_type, content_encoding, body }: Amqp10Message): Message {
  const named = {
    id: idText(message_id),
    contentType: content_type ?? undefined,
    contentEncoding: content_encoding ?? undefined,
  };
  const bytes = bytesOf(body);
  if (bytes !== undefined) return { ...named, body: new MessageBody(bytes) };
  const found = new MessageBody(Buffer.from(JSON.stringify(body) ?? ""));
  return { ...named, body: found, fault: "the body is a structure of AMQP: expected bytes or a text" };
}

/** The id may be a text, a number or the bytes of a UUID. */
function idText(id: unknown): string | undefined {
  if (id === undefined || id === null) return undefined;
  return Buffer.isBuffer(id) ? id.toString("hex") : String(id);
}

function bytesOf(body: unknown): Buffer | undefined {
  if (typeof body === "string") return Buffer.from(body);
  if (Buffer.isBuffer(body)) return body;
  const { typecode, content } = (body ?? {}) as Partial<BodySection>;
  if (typecode !== DATA_SECTION) return undefined;
  return Array.isArray(content) ? Buffer.concat(content as Buffer[]) : (content as Buffer);
}

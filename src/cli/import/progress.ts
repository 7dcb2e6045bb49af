/**
 * The progress of one import: what is recorded of it, and when.
 *
 * Why every event counts once, wherever the import is killed (kill -9, a power cut):
 * - Each event has an id: its own, or one that follows from the content (event-ids.ts). The service counts an id once
 *   within 24 h.
 * - Before a piece is sent, its end and the time are on disk (`willSend`). Once it and all before it were answered,
 *   that is on disk (`isCounted`).
 * - So at any instant the record divides the content in three. What is before `counted` is counted, and is not sent
 *   again. What is behind `sentBytes` was never sent. What is between may be counted, and is sent again under the same
 *   ids: what was counted is a duplicate.
 * - That holds for 24 h from `sentAt`, before which nothing of it was sent. Later the service may have dropped the ids:
 *   then nothing is sent, and the user decides (`isTooOld`, see content-import.ts).
 */
import { ID_TTL_MS } from "../../domain/event.ts";
import { sha256Of } from "./sha256.ts";
import type { ImportRecord, Mark, StateFile, Target } from "./state-file.ts";

/** An hour less than ids live, for clocks that differ and requests that take long. */
const IDS_KNOWN_MS = ID_TTL_MS - 3_600_000;

export const HEAD_BYTES = 4_096;

/** A piece of the content, to be sent as one. */
export interface Piece {
  readonly end: Mark;
  /** Of the content up to `end`. */
  readonly sha256: Uint8Array;
  /** No event of it was sent before. */
  readonly sentAt: number;
}

/** True if the service may have dropped the ids of events that were sent then. */
export function isTooOld(sentAt: number, now: number): boolean {
  return now - sentAt > IDS_KNOWN_MS;
}

export function isDoubtful({ counted, sentBytes }: ImportRecord): boolean {
  return counted.offset < sentBytes;
}

export interface ProgressPlace {
  readonly state: StateFile;
  readonly target: Target;
  readonly path: string;
  /** The first bytes of the content: HEAD_BYTES at least, or what there was when it was begun. */
  readonly head: Buffer;
}

/** Pieces come in the order of the content, in both calls. */
export class Progress {
  readonly #place: ProgressPlace;
  readonly #start: Mark;
  /** Sent and not answered, the oldest first. */
  readonly #open: Piece[] = [];
  #record: ImportRecord | undefined;

  /** `record`: of the run before. `start`: where this one begins if there was none. */
  constructor(place: ProgressPlace, start: Mark, record: ImportRecord | undefined) {
    this.#place = place;
    this.#start = start;
    this.#record = record;
  }

  /** The earliest time at which the event at `offset` may have been sent. */
  sentAtOf(offset: number, now: number): number {
    const record = this.#record;
    return record !== undefined && offset < record.sentBytes ? Math.min(now, record.sentAt) : now;
  }

  willSend(piece: Piece): void {
    this.#open.push(piece);
    const counted = this.#record?.counted ?? this.#start;
    this.#save(counted, piece);
  }

  /** The oldest piece in flight. */
  isCounted(piece: Piece): void {
    this.#open.shift();
    this.#save(piece.end, piece);
  }

  #save(counted: Mark, piece: Piece): void {
    const { state, target, path, head } = this.#place;
    const before = this.#record;
    const isFurther = before === undefined || piece.end.offset > before.sentBytes;
    const sentBytes = isFurther ? piece.end.offset : before.sentBytes;
    const sentSha256 = isFurther ? piece.sha256 : before.sentSha256;
    const headBytes = Math.min(HEAD_BYTES, sentBytes, head.length);
    const headSha256 = sha256Of(head.subarray(0, headBytes));
    const sentAt = this.#open[0]?.sentAt ?? before?.sentAt ?? piece.sentAt;
    const record = { path, headBytes, headSha256, counted, sentBytes, sentSha256, sentAt };
    this.#record = { ...record, number: state.save(target, { ...record, number: before?.number }) };
  }
}

/**
 * How far the import of one content is: what is written down of it, and when.
 *
 * Why it counts every event once, wherever it is killed (kill -9, a power cut):
 * - Each event has an id, its own or one that the content alone gives (event-ids.ts), and within 24 h of its
 *   counting the service counts an id once.
 * - Before a chunk is sent, its end and the time are on disk (`willSend`). After it, and all before it, were
 *   answered, that is on disk (`isCounted`).
 * - So at any instant the record divides the content in three. What is before `counted` is counted, and is not
 *   sent again. What is behind `sentBytes` was never sent. What is between them may be counted or not, and is
 *   sent again under the same ids: what was counted counts as a duplicate.
 * - That holds for 24 h from `sentAt`, before which nothing of it was sent. Later the service may have forgotten
 *   the ids: then nothing is sent, and who runs it decides (`isTooOld`, see content-import.ts).
 * A hot store that loses its data loses the ids with it: see "What it costs, and where it ends".
 */
import { ID_TTL_MS } from "../../domain/event.ts";
import { sha256Of } from "./sha256.ts";
import type { ImportRecord, Mark, StateFile, Target } from "./state-file.ts";

/** Less than ids live by what clocks may differ, and a request may take. */
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

/** Is an event that was perhaps sent at `sentAt` surely known to the service, if it was counted? */
export function isTooOld(sentAt: number, now: number): boolean {
  return now - sentAt > IDS_KNOWN_MS;
}

export function isDoubtful({ counted, sentBytes }: ImportRecord): boolean {
  return counted.offset < sentBytes;
}

/** Where the content is written down. */
export interface ProgressPlace {
  readonly state: StateFile;
  readonly target: Target;
  readonly path: string;
  /** The first bytes of the content: HEAD_BYTES at least, or all of it. */
  readonly head: Buffer;
}

/** Pieces come in the order of the content, in both calls. */
export class Progress {
  readonly #place: ProgressPlace;
  readonly #start: Mark;
  /** Sent, and not answered; the first first. */
  readonly #open: Piece[] = [];
  #record: ImportRecord | undefined;

  /** `record`: of the run before. `start`: where this one begins if there was none. */
  constructor(place: ProgressPlace, start: Mark, record: ImportRecord | undefined) {
    this.#place = place;
    this.#start = start;
    this.#record = record;
  }

  /** When the event at `offset` may have been sent first. */
  sentAtOf(offset: number, now: number): number {
    const record = this.#record;
    return record !== undefined && offset < record.sentBytes ? Math.min(now, record.sentAt) : now;
  }

  willSend(piece: Piece): void {
    this.#open.push(piece);
    const counted = this.#record?.counted ?? this.#start;
    this.#save(counted, piece);
  }

  /** The one that was sent first of those that are not answered. */
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
    const headBytes = Math.min(HEAD_BYTES, sentBytes);
    const record: ImportRecord = {
      number: before?.number,
      path,
      headBytes,
      headSha256: sha256Of(head.subarray(0, headBytes)),
      counted,
      sentBytes,
      sentSha256,
      sentAt: this.#open[0]?.sentAt ?? before?.sentAt ?? piece.sentAt,
    };
    this.#record = { ...record, number: state.save(target, record) };
  }
}

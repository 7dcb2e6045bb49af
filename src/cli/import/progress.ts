/**
 * Records the progress of one import.
 *
 * Every event counts once, wherever the import is killed (kill -9, a power cut):
 * - Each event has an id: its own, or one derived from the content (records-and-ids.ts). The service counts an id once
 *   within 24 h.
 * - Before a piece is sent, its end and the time are on disk (`willSend`). Once it and all pieces before it are
 *   answered, that is on disk too (`isCounted`).
 * - So the record divides the content in three. Before `counted`, everything is counted, and never sent again. After
 *   `sentBytes`, nothing was ever sent. What lies between may be counted, and is sent again under the same ids, so
 *   counted events become duplicates.
 * - Lines that do not count, and may if they are read again, make an import start again in the same way.
 * - This holds for 24 h from `sentAt`. Later the service may have forgotten the ids: then nothing is sent, and the user
 *   decides (`isTooOld`, see content-import.ts).
 */
import { HOUR_MS } from "../../domain/event.ts";
import { ID_TTL_MS } from "../../domain/event-ids.ts";
import { lineHashes } from "./earlier.ts";
import { RECORD_MAX_BYTES, sha256Of } from "./records-and-ids.ts";
import { HEAD_BYTES, type ImportRecord, type Mark, type StateFile, type Target, type Uncounted } from "./state-file.ts";

/** An hour less than the lifetime of ids, to allow for clock differences and slow requests. */
const IDS_KNOWN_MS = ID_TTL_MS - HOUR_MS;

export const NOTHING_UNCOUNTED: Uncounted = { bad: 0, refused: 0, leftOut: 0 };

export interface Piece {
  readonly end: Mark;
  /** Hash of the content up to `end`. */
  readonly sha256: Uint8Array;
  /** None of its events was sent earlier. */
  readonly sentAt: number;
  readonly eventCount: number;
  readonly bad: number;
  readonly leftOut: number;
}

/** Whether the service may have forgotten the ids of events sent at that time. */
export function isTooOld(sentAt: number, now: number): boolean {
  return now - sentAt > IDS_KNOWN_MS;
}

export function isDoubtful({ counted, sentBytes }: ImportRecord): boolean {
  return counted.offset < sentBytes;
}

/** Identifies a content by its first `bytes` bytes. */
interface Identity extends Pick<ImportRecord, "headBytes" | "headSha256"> {
  readonly bytes: number;
  /** One per complete line. */
  readonly hashes: Uint8Array;
}

interface ProgressPlace {
  readonly state: StateFile;
  readonly target: Target;
  readonly path: string;
  /** The offset of the first record. */
  readonly firstRecord: number;
  /** See ImportRecord. */
  readonly namesake: number;
  /** See ImportRecord. */
  readonly options: string;
}

/** Its methods must be called in the order of the content. */
export class Progress {
  readonly #place: ProgressPlace;
  readonly #start: Mark;
  /** Pieces that were sent and not answered, oldest first. */
  readonly #open: Piece[] = [];
  #record: ImportRecord | undefined;
  #uncounted: Uncounted;
  /** The first bytes of the content, as far as they were read. */
  #head: Buffer = Buffer.alloc(0);
  #identity: Identity | undefined;

  /** `record`: from the previous run. `start`: where this run begins if there is none. */
  constructor(place: ProgressPlace, start: Mark, record: ImportRecord | undefined) {
    this.#place = place;
    this.#start = start;
    this.#record = record;
    this.#uncounted = record?.uncounted ?? NOTHING_UNCOUNTED;
  }

  /** The earliest time at which the event at `offset` may have been sent. */
  sentAtOf(offset: number, now: number): number {
    const record = this.#record;
    return record !== undefined && offset < record.sentBytes ? Math.min(now, record.sentAt) : now;
  }

  /** `block`: the next one of the content, from its beginning. */
  read(block: Buffer): void {
    if (this.#head.length === RECORD_MAX_BYTES) return;
    this.#head = Buffer.concat([this.#head, block]).subarray(0, RECORD_MAX_BYTES);
  }

  willSend(piece: Piece): void {
    this.#open.push(piece);
    const counted = this.#record?.counted ?? this.#start;
    this.#save(counted, piece);
  }

  /** `refused`: how many of its events the service refused. */
  isCounted(piece: Piece, refused: number): void {
    this.#open.shift();
    const before = this.#uncounted;
    this.#uncounted = {
      bad: before.bad + piece.bad,
      refused: before.refused + refused,
      leftOut: before.leftOut + piece.leftOut,
    };
    this.#save(piece.end, piece);
  }

  #save(counted: Mark, piece: Piece): void {
    const { state, target, path, namesake, options } = this.#place;
    const before = this.#record;
    const isFurther = before === undefined || piece.end.offset > before.sentBytes;
    const sentBytes = isFurther ? piece.end.offset : before.sentBytes;
    const sentSha256 = isFurther ? piece.sha256 : before.sentSha256;
    const sentAt = this.#open[0]?.sentAt ?? before?.sentAt ?? piece.sentAt;
    const { headBytes, headSha256, hashes } = this.#identityUpTo(Math.min(sentBytes, this.#head.length));
    const begunAt = before?.begunAt ?? (piece.eventCount > 0 ? piece.sentAt : null);
    const sent = { counted, sentBytes, sentSha256, sentAt, begunAt };
    const record = { path, headBytes, headSha256, ...sent, namesake, options, uncounted: this.#uncounted };
    this.#record = { ...record, number: state.save(target, { ...record, number: before?.number }, hashes) };
  }

  #identityUpTo(bytes: number): Identity {
    if (this.#identity?.bytes === bytes) return this.#identity;
    const headBytes = Math.min(HEAD_BYTES, bytes);
    const headSha256 = sha256Of(this.#head.subarray(0, headBytes));
    const hashes = lineHashes(this.#head.subarray(this.#place.firstRecord, bytes));
    this.#identity = { bytes, headBytes, headSha256, hashes };
    return this.#identity;
  }
}

/**
 * Imports one source: reads it in pieces, sends some of them at a time, and records the progress. progress.ts explains
 * why nothing is counted twice or missed.
 *
 * Invariant: at most PIECES_IN_FLIGHT pieces are unanswered, and reading pauses at that limit. Answers are handled in
 * the order of the pieces.
 */
import { resolve } from "node:path";
import { DAY_MS } from "../../domain/event.ts";
import { eventJson } from "../../protocol/event/object-rules.ts";
import { Content, type Following, type Source } from "./content.ts";
import { earlierImport, firstLineHash, refuseChanged } from "./earlier.ts";
import { type EventReaderOptions, eventReader, type LeftOut, type ReadEvent, refuseFilters } from "./event-reader.ts";
import { type Format, isLog } from "./formats/known-formats.ts";
import { type Layout, layoutOf } from "./formats/layout.ts";
import { ImportError } from "./import-error.ts";
import { isDoubtful, isTooOld, NOTHING_UNCOUNTED, type Piece, Progress } from "./progress.ts";
import { type ContentRecord, EventIds, firstChain, RECORD_MAX_BYTES, RecordSplitter } from "./records-and-ids.ts";
import type { Report } from "./report.ts";
import type { Delivery, Sender } from "./sender.ts";
import type { ImportRecord, Mark, StateFile, Target } from "./state-file.ts";
import { w3cColumnsAt } from "./w3c-columns.ts";

export interface Job {
  readonly target: Target;
  readonly sender: Sender;
  /** Of all files of this run. */
  readonly paths: ReadonlySet<string>;
  /** Undefined if no source can be read again. */
  readonly state: StateFile | undefined;
  readonly format: Format | "auto";
  readonly reading: EventReaderOptions;
  /** See ImportRecord. */
  readonly options: string;
  /** Stop at the first bad line. */
  readonly isStrict: boolean;
  /** An unterminated last line counts as complete. */
  readonly isLastLineWhole: boolean;
  /** Undefined: stop at the end of the files. */
  readonly following: Following | undefined;
  /** Decides about events sent so long ago that the service may have forgotten their ids. */
  readonly doubtful: "send" | "skip" | undefined;
  readonly report: Report;
  readonly now: () => number;
  readonly startedAt: number;
}

export interface Tally {
  readonly file: string;
  /** known: an earlier run imported all of it. copy: this run did, from another file. stopped: at a bad line. */
  status: "imported" | "known" | "copy" | "empty" | "stopped" | "failed";
  /** The file under whose name its content was imported. */
  copyOf?: string;
  fromLine: number;
  lines: number;
  accepted: number;
  duplicates: number;
  bad: number;
  /** Lines that an earlier run read, and that do not count. */
  badBefore: number;
  /** Lines may count now that did not, but the service no longer knows the ids of the others. */
  isTooLate: boolean;
  isReadAgain: boolean;
  /** Skipped because an earlier run sent them, and they may count. */
  skipped: number;
  readonly leftOut: Partial<Record<LeftOut, number>>;
  /** UTC days of sent events, in days since the epoch. */
  readonly days: Set<number>;
  /** Streams of sent events; at most two are recorded. */
  readonly streams: Set<string>;
  /** The last line is unterminated, and left to a later run. */
  isUnfinished: boolean;
}

interface SentPiece {
  readonly piece: Piece;
  /** The line of each event. */
  readonly lines: readonly number[];
  readonly delivery: Promise<Delivery>;
}

/** About 600 KB: below the service's maximum, and enough to make a request's cost negligible. */
const EVENTS_PER_PIECE = 4_000;
/** Up to 4 bytes each, so below the service's maximum of 4 MiB. */
const CHARS_PER_PIECE = 1_000_000;
const PIECES_IN_FLIGHT = 4;

/** Throws ImportError. */
export async function importSource(source: Source, job: Job, tally: Tally): Promise<void> {
  const content = new Content(source, job.following);
  try {
    const head = await content.head(RECORD_MAX_BYTES);
    const layout = layoutOrError(source, head, job);
    if (layout === undefined) {
      tally.status = "empty";
      return;
    }
    const earlier = await earlierOf(source, head, job);
    const namesake = earlier?.record.namesake ?? namesakesOf(head.subarray(layout.start.offset), job);
    const start = { ...layout.start, chain: firstChain(head.subarray(0, layout.start.offset), namesake) };
    const again = earlier && readAgain(earlier.record, start, job, tally);
    const isDone = earlier?.isWhole === true && again === undefined && !isDoubtful(earlier.record);
    if (isDone && job.following === undefined) {
      const { path, sentAt } = earlier.record;
      if (path !== resolve(source.path!)) tally.copyOf = path;
      tally.status = tally.copyOf !== undefined && sentAt >= job.startedAt ? "copy" : "known";
      return;
    }
    const record = again ?? earlier?.record;
    const parts = { source, content, job, tally, start, namesake, record };
    await new Run({ ...parts, layout: await layoutAt(record?.counted ?? start, source, layout) }).toEnd();
  } finally {
    await content.close();
  }
}

/** 0 if its ids need not be told from those of another content. `lines`: its beginning. */
function namesakesOf(lines: Buffer, { state, target }: Job): number {
  const hash = firstLineHash(lines);
  return state === undefined || hash.length === 0 ? 0 : state.namesakes(target, hash);
}

function layoutOrError(source: Source, head: Buffer, { format, reading }: Job): Layout | undefined {
  try {
    const layout = layoutOf(head, format, reading.fields);
    if (layout !== undefined && reading.filters !== undefined) refuseFilters(layout.format, reading.filters);
    if (layout !== undefined || head.length < RECORD_MAX_BYTES) return layout;
    throw new ImportError(`its first ${RECORD_MAX_BYTES} bytes are blank`);
  } catch (error) {
    if (error instanceof ImportError) throw new ImportError(`${source.name}: ${error.message}`);
    throw error;
  }
}

/** The layout that holds at `mark`: only W3C logs change theirs. */
async function layoutAt({ offset }: Mark, source: Source, layout: Layout): Promise<Layout> {
  if (layout.format !== "w3c" || offset === layout.start.offset) return layout;
  return { ...layout, columns: await w3cColumnsAt(offset, source, layout) };
}

/** Throws ImportError if an earlier run was interrupted and the user must decide how to continue. */
async function earlierOf(source: Source, head: Buffer, { state, target, paths, doubtful, now }: Job) {
  if (state === undefined || source.path === undefined || !source.isRepeatable) return undefined;
  const earlier = await earlierImport(source, head, state.records(target), paths);
  if (earlier === undefined) {
    refuseChanged(source, head, state.lineHashesAt(target, resolve(source.path)));
    return undefined;
  }
  const { record } = earlier;
  if (!isDoubtful(record) || !isTooOld(record.sentAt, now()) || doubtful !== undefined) return earlier;
  const { counted, sentBytes, sentAt } = record;
  throw new ImportError(
    `${source.name}: from line ${counted.line} on ${sentBytes - counted.offset} bytes were sent on ` +
      `${new Date(sentAt).toISOString()}, and not answered. The service no longer knows whether it counted them: ` +
      "use --doubtful send (they may count twice) or --doubtful skip (they may be missing)",
  );
}

/**
 * The record of a content that begins again, since lines that do not count may count now. Undefined if none may, or if
 * it is too late: the others would count twice.
 */
function readAgain(record: ImportRecord, start: Mark, job: Job, tally: Tally): ImportRecord | undefined {
  const { uncounted, options, begunAt } = record;
  const { bad, refused, leftOut } = uncounted;
  const hasSameIds = JSON.parse(options).newIds === job.reading.isIdNew;
  const mayCount = hasSameIds && (refused > 0 || (bad + leftOut > 0 && options !== job.options));
  const now = job.now();
  const sentAt = begunAt ?? now;
  tally.isReadAgain = mayCount && !isTooOld(sentAt, now);
  if (tally.isReadAgain) return { ...record, counted: start, sentAt, uncounted: NOTHING_UNCOUNTED };
  tally.badBefore = bad + refused;
  tally.isTooLate = mayCount;
  return undefined;
}

interface RunParts {
  readonly source: Source;
  readonly content: Content;
  readonly job: Job;
  readonly tally: Tally;
  readonly layout: Layout;
  /** Where the first record begins. */
  readonly start: Mark;
  /** See ImportRecord. */
  readonly namesake: number;
  readonly record: ImportRecord | undefined;
}

class Run {
  readonly #parts: RunParts;
  readonly #splitter: RecordSplitter;
  readonly #ids: EventIds;
  readonly #readEvent: ReadEvent;
  readonly #progress: Progress | undefined;
  readonly #skipBytes: number;
  readonly #sent: SentPiece[] = [];
  #events: string[] = [];
  #lines: number[] = [];
  #chars = 0;
  /** Of the lines since the last piece. */
  #bad = 0;
  #leftOut = 0;
  #pieceStart: number;
  /** Where a strict import stops before the content's end. */
  #stop: Mark | undefined;
  #isBegun = false;
  #isStopped = false;

  constructor(parts: RunParts) {
    const { job, layout, record } = parts;
    this.#parts = parts;
    const start = record?.counted ?? parts.start;
    this.#splitter = new RecordSplitter(start, layout.format === "csv");
    this.#ids = new EventIds(start.chain);
    this.#readEvent = eventReader(layout, job.reading);
    this.#pieceStart = start.offset;
    const isLost = record !== undefined && isDoubtful(record) && isTooOld(record.sentAt, job.now());
    this.#skipBytes = isLost && job.doubtful === "skip" ? record.sentBytes : 0;
    // They are sent as if for the first time.
    const believed = isLost ? { ...record, sentAt: job.now() } : record;
    this.#progress = this.#newProgress(believed);
    parts.tally.fromLine = start.offset === parts.start.offset ? 1 : start.line;
  }

  #newProgress(record: ImportRecord | undefined): Progress | undefined {
    const { source, job, layout, namesake } = this.#parts;
    const { state, target } = job;
    if (state === undefined || source.path === undefined || !source.isRepeatable) return undefined;
    const place = {
      state,
      target,
      path: resolve(source.path),
      firstRecord: layout.start.offset,
      namesake,
      options: job.options,
    };
    return new Progress(place, this.#mark(), record);
  }

  #mark(): Mark {
    const { offset, line } = this.#splitter;
    return { offset, line, chain: this.#ids.chain };
  }

  /** Throws ImportError. Everything answered before is counted and recorded. */
  async toEnd(): Promise<void> {
    const { tally, job } = this.#parts;
    try {
      const failure = await this.#readAll();
      await this.#settleAll();
      if (failure !== undefined) throw failure;
      tally.status = this.#isStopped ? "stopped" : "imported";
      tally.isUnfinished = !this.#isStopped && this.#splitter.hasRest;
    } catch (error) {
      tally.status = "failed";
      job.sender.stop();
      throw error;
    }
  }

  /** Returns the error if the content can't be read to its end. */
  async #readAll(): Promise<Error | undefined> {
    const blocks = this.#parts.content.blocks();
    while (!this.#isStopped) {
      let block: Buffer | undefined;
      try {
        block = (await blocks.next()).value ?? undefined;
      } catch (error) {
        return error as Error;
      }
      await this.#take(block);
      if (block === undefined) break;
      if (block.length === 0) await this.#settleAll();
    }
    return undefined;
  }

  async #take(block: Buffer | undefined): Promise<void> {
    const { job, content } = this.#parts;
    if (block !== undefined) this.#progress?.read(block);
    for (const record of this.#splitter.split(block, this.#isGrowing)) {
      if (!this.#isBegun) job.report.begin(content.readBytes);
      this.#isBegun = true;
      this.#takeRecord(record);
      if (this.#isStopped) return;
      if (this.#events.length >= EVENTS_PER_PIECE || this.#chars >= CHARS_PER_PIECE) await this.#sendPiece();
    }
  }

  /**
   * Servers terminate every line of a log; files in other formats often lack the last line break. Pipes and compressed
   * files do not grow.
   */
  get #isGrowing(): boolean {
    const { layout, content, job } = this.#parts;
    if (job.following !== undefined) return true;
    return isLog(layout.format) && content.isGrowing && !job.isLastLineWhole;
  }

  #takeRecord({ bytes, start, line, problem }: ContentRecord): void {
    const { job, tally } = this.#parts;
    const chain = job.isStrict ? this.#ids.chain : undefined;
    this.#ids.advance(bytes);
    tally.lines = this.#splitter.line - tally.fromLine;
    const text = bytes.toString();
    const trimmed = text.endsWith("\r") ? text.slice(0, -1) : text;
    if (problem === undefined && trimmed.trim() === "") return;
    const event = problem ?? this.#readEvent(trimmed, this.#ids.id(start), job.now());
    if (typeof event === "string") {
      this.#reportBad(line, event);
      // Everything before this line is counted, so it can be corrected, and the import continues here.
      if (chain !== undefined) this.#stop = { offset: start, line, chain };
      else this.#bad += 1;
    } else if ("leftOut" in event) {
      this.#leftOut += 1;
      tally.leftOut[event.leftOut] = (tally.leftOut[event.leftOut] ?? 0) + 1;
    } else if (start < this.#skipBytes) {
      tally.skipped += 1;
    } else {
      const eventText = eventJson(event);
      this.#events.push(eventText);
      tally.days.add(Math.floor(event.at / DAY_MS));
      if (tally.streams.size < 2) tally.streams.add(event.stream);
      this.#lines.push(line);
      this.#chars += eventText.length;
    }
  }

  #reportBad(line: number, problem: string): void {
    const { job, tally, source } = this.#parts;
    tally.bad += 1;
    job.report.badLine(source.name, line, problem);
    if (job.isStrict) this.#isStopped = true;
  }

  async #settleAll(): Promise<void> {
    await this.#sendPiece();
    while (this.#sent.length > 0) await this.#settle();
  }

  async #sendPiece(): Promise<void> {
    const end = this.#stop ?? this.#mark();
    if (end.offset === this.#pieceStart) return;
    while (this.#sent.length >= PIECES_IN_FLIGHT) await this.#settle();
    const { sender, now } = this.#parts.job;
    const sentAt = this.#progress?.sentAtOf(this.#pieceStart, now()) ?? now();
    const sha256 = this.#splitter.sha256(end.offset);
    const piece: Piece = {
      ...{ end, sha256, sentAt },
      ...{ eventCount: this.#events.length, bad: this.#bad, leftOut: this.#leftOut },
    };
    this.#progress?.willSend(piece);
    const delivery = sender.send({ events: this.#events, sentAt });
    // Awaited later, in order.
    delivery.catch(() => {});
    this.#sent.push({ piece, lines: this.#lines, delivery });
    this.#pieceStart = end.offset;
    this.#events = [];
    this.#lines = [];
    this.#chars = 0;
    this.#bad = 0;
    this.#leftOut = 0;
  }

  /** Awaits the answer to the oldest piece in flight. */
  async #settle(): Promise<void> {
    const { piece, lines, delivery } = this.#sent.shift()!;
    const { accepted, duplicates, invalid, problems } = await delivery;
    this.#progress?.isCounted(piece, invalid);
    const { source, content, tally, job } = this.#parts;
    const { name } = source;
    // A followed file has no end.
    const sizeBytes = job.following === undefined ? source.sizeBytes : undefined;
    tally.accepted += accepted;
    tally.duplicates += duplicates;
    for (const { position, problem } of problems) this.#reportBad(lines[position]!, problem);
    tally.bad += invalid - problems.length;
    const doneLines = piece.end.line - tally.fromLine;
    job.report.progress({ name, lines: doneLines, readBytes: content.readBytes, sizeBytes });
  }
}

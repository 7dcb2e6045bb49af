/**
 * Checks that bytes are complete Zstandard frames (RFC 8878). Bun decodes a truncated frame to its start without an
 * error, so events would be lost silently.
 */
const MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const MAGIC_SIZE = 4;
const BLOCK_HEADER_SIZE = 3;
const CHECKSUM_SIZE = 4;
const RLE_BLOCK = 1;
const DICTIONARY_ID_SIZES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_SIZES = [0, 2, 4, 8] as const;

export function areWholeZstdFrames(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  do {
    const end = endOfFrame(view, at);
    if (end === undefined || end > bytes.length) return false;
    at = end;
  } while (at < bytes.length);
  return true;
}

/** Undefined if it is truncated, or not a frame. */
function endOfFrame(view: DataView, start: number): number | undefined {
  if (start + 2 * MAGIC_SIZE > view.byteLength) return undefined;
  const magic = view.getUint32(start, true);
  if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) {
    return start + 2 * MAGIC_SIZE + view.getUint32(start + MAGIC_SIZE, true);
  }
  if (magic !== MAGIC) return undefined;
  const descriptor = view.getUint8(start + MAGIC_SIZE);
  const end = endOfBlocks(view, start + MAGIC_SIZE + headerSize(descriptor));
  if (end === undefined) return undefined;
  return (descriptor & 4) === 0 ? end : end + CHECKSUM_SIZE;
}

/** Includes the descriptor, window size, dictionary id and content size. */
function headerSize(descriptor: number): number {
  const isSingleSegment = (descriptor & 32) !== 0;
  const contentSize = CONTENT_SIZE_SIZES[(descriptor >>> 6) as 0 | 1 | 2 | 3];
  const dictionaryId = DICTIONARY_ID_SIZES[(descriptor & 3) as 0 | 1 | 2 | 3];
  if (!isSingleSegment) return 2 + dictionaryId + contentSize;
  return 1 + dictionaryId + Math.max(contentSize, 1);
}

function endOfBlocks(view: DataView, start: number): number | undefined {
  for (let at = start; at + BLOCK_HEADER_SIZE <= view.byteLength; ) {
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    const isRle = ((header >>> 1) & 3) === RLE_BLOCK;
    at += BLOCK_HEADER_SIZE + (isRle ? 1 : header >>> 3);
    if ((header & 1) === 1) return at;
  }
  return undefined;
}

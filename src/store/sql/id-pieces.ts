/** The rows of `flushed_ids`: the ids of a flush, compressed, in pieces that any server takes in a statement. */
import type { JournaledBatch } from "../../domain/batch.ts";
import type { StoredIds } from "../cold.ts";

/** A character takes 3 bytes at most, which do not compress at worst, and a statement has 2 digits for each byte. */
const PIECE_MAX_CHARS = 150_000;

export interface IdPiece {
  readonly idCount: number;
  readonly body: Uint8Array;
}

type IdsOfStream = [stream: string, ids: string[]];

/** JSON: [[stream, [id, …]], …]. */
export function* idPieces(batches: readonly JournaledBatch[]): Generator<IdPiece> {
  let [streams, idCount, chars] = [[] as IdsOfStream[], 0, 0];
  for (const { groups } of batches) {
    for (const { stream, ids } of groups) {
      let ofStream: string[] | undefined;
      for (const id of ids ?? []) {
        if (id === null) continue;
        if (chars + id.length > PIECE_MAX_CHARS) {
          yield encode(streams, idCount);
          [streams, idCount, chars, ofStream] = [[], 0, 0, undefined];
        }
        if (ofStream === undefined) {
          ofStream = [];
          streams.push([stream, ofStream]);
          chars += stream.length;
        }
        ofStream.push(id);
        idCount += 1;
        chars += id.length;
      }
    }
  }
  if (idCount > 0) yield encode(streams, idCount);
}

function encode(streams: readonly IdsOfStream[], idCount: number): IdPiece {
  return { idCount, body: Bun.zstdCompressSync(JSON.stringify(streams)) };
}

export function idsIn(body: Uint8Array, ageMs: number): StoredIds[] {
  const streams = JSON.parse(Bun.zstdDecompressSync(body).toString()) as IdsOfStream[];
  return streams.map(([stream, ids]) => ({ stream, ids, ageMs }));
}

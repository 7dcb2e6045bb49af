/** The thread that cold-thread.ts starts: a cold store, asked by messages, each answered with one. */
import { workerData } from "node:worker_threads";
import type { HourKey } from "../../domain/event.ts";
import { errorText } from "../../runtime/deadline.ts";
import { WriterSealedError } from "../cold.ts";
import { coldStoreAt } from "../open-cold.ts";
import {
  type Answer,
  type BatchText,
  type Call,
  type ColdPlace,
  packAudit,
  packHour,
  unpackBatches,
} from "./messages.ts";

declare const self: Worker;

type Shard = number | undefined;

const store = coldStoreAt(workerData as ColdPlace, Date.now);

/** The types of arguments and results are those of the method: the other side has them from the interface. */
async function resultOf({ method, args }: Call): Promise<unknown> {
  const [first, second, third] = args;
  if (method === "flush") {
    return await store.flush(first as string, unpackBatches(second as BatchText[]), third as Shard);
  }
  if (method === "read") return packHour(await store.read(first as HourKey, second as number[] | undefined));
  if (method === "audit") return packAudit(await store.audit(first as HourKey, second as Shard));
  const plain = store[method] as (...args: unknown[]) => Promise<unknown>;
  return await plain.apply(store, [...args]);
}

self.onmessage = async ({ data: call }: MessageEvent<Call>) => {
  const { number } = call;
  let answer: Answer;
  try {
    answer = { number, result: await resultOf(call) };
  } catch (error) {
    answer = { number, error: errorText(error), isSealed: error instanceof WriterSealedError };
  }
  self.postMessage(answer);
};

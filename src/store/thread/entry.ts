/** The thread that proxy.ts starts: runs a cold store and answers each call with a message. */
import { workerData } from "node:worker_threads";
import { errorText } from "../../runtime/error-text.ts";
import { WriterSealedError } from "../cold.ts";
import { type ColdPlace, coldStoreAt } from "../open-cold.ts";
import { type Answer, type Call, packingOf } from "./proxy.ts";

declare const self: Worker;

const loading = coldStoreAt(workerData as ColdPlace, Date.now);

async function resultOf({ method, args }: Call): Promise<unknown> {
  const store = await loading;
  const packing = packingOf(method);
  const call = store[method] as (...args: unknown[]) => Promise<unknown>;
  const result = await call(...(packing.args?.unpack(args) ?? args));
  return packing.result === undefined ? result : packing.result.pack(result);
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

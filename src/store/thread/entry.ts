/** What the thread that proxy.ts starts runs. */
import { answerCalls } from "./proxy.ts";

declare const self: Worker;

answerCalls(self);

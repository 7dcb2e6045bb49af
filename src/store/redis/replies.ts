/**
 * What scripts may answer, and nothing else. A reply of another kind (a "QUEUED", an answer to somebody else's
 * question) is no proof that anything was done, and the connection that it came over is out of step.
 */
export class UnexpectedReplyError extends Error {
  override readonly name = "UnexpectedReplyError";
}

const SHOWN_MAX_CHARS = 200;

export type ReadReply<T> = (answer: unknown) => T;

export function unexpected(answer: unknown, expected: string): UnexpectedReplyError {
  const got = JSON.stringify(answer)?.slice(0, SHOWN_MAX_CHARS);
  return new UnexpectedReplyError(`the answer was ${got}, expected ${expected}`);
}

export function integer(answer: unknown): number {
  if (typeof answer !== "number") throw unexpected(answer, "an integer");
  return answer;
}

export function flag(answer: unknown): boolean {
  if (answer !== 1 && answer !== 0) throw unexpected(answer, "0 or 1");
  return answer === 1;
}

export function list(answer: unknown): readonly unknown[] {
  if (!Array.isArray(answer)) throw unexpected(answer, "a list");
  return answer;
}

export function integerText(answer: unknown): number {
  if (typeof answer !== "string" || !/^\d+$/.test(answer)) throw unexpected(answer, "digits");
  return Number(answer);
}

export function text(answer: unknown): string {
  if (typeof answer !== "string") throw unexpected(answer, "a text");
  return answer;
}

/** For work that goes on for long in one piece: requests and answers that wait are taken care of first. */
export function letOthersRun(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

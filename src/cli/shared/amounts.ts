/** Formats numbers in the output of commands. */

/** 12,345 */
export function grouped(value: number): string {
  return value.toLocaleString("en-US");
}

/** 1 hour, 2 hours */
export function amount(count: number, one: string, several = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : several}`;
}

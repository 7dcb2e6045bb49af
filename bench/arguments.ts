/** Validated arguments of the bench's commands. */
import { InvalidArgumentError } from "commander";

export function whole(text: string): number {
  if (!/^[1-9]\d{0,9}$/.test(text)) throw new InvalidArgumentError("Expected a whole number from 1 on.");
  return Number(text);
}

export function seconds(text: string): number {
  const value = Number(text);
  if (!(value >= 0.1 && value <= 600)) throw new InvalidArgumentError("Expected 0.1 to 600.");
  return value;
}

export function milliseconds(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 60_000)) throw new InvalidArgumentError("Expected 0 to 60000.");
  return value;
}

/** Reads certificates and keys named by settings. */
import { readFileSync } from "node:fs";
import { errorText } from "../runtime/error-text.ts";
import { ConfigError } from "./settings.ts";

/** Throws ConfigError, which never quotes the file: it may be a private key. */
export function readPem(setting: string, path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new ConfigError(`${setting} is '${path}', which can't be read: ${errorText(error)}`);
  }
  if (text.includes("-----BEGIN ")) return text;
  throw new ConfigError(`${setting} is '${path}', which is not a PEM file (it has no -----BEGIN …-----)`);
}

/** Reads the certificates and keys that settings name. */
import { readFileSync } from "node:fs";
import { errorText } from "../runtime/error-text.ts";
import { ConfigError } from "./settings.ts";

/** Throws ConfigError, which quotes nothing of the file: it may be a private key. */
export function readPem(setting: string, path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new ConfigError(`${setting} is '${path}', which can't be read: ${errorText(error)}`);
  }
  if (text.includes("-----BEGIN ")) return text;
  throw new ConfigError(`${setting} is '${path}', which is not in the format PEM (-----BEGIN …-----)`);
}

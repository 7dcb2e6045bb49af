/** Certificates for a test, made by openssl: an own authority, and what it has signed. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Certificates {
  /** The authority that signed `certFile`. */
  readonly caFile: string;
  /** For localhost and 127.0.0.1. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Another authority, which signed nothing. */
  readonly strangeCaFile: string;
  /** Signed by the authority, for another name. */
  readonly otherCertFile: string;
  delete(): void;
}

export async function makeCertificates(): Promise<Certificates> {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-certificates-"));
  const path = (name: string) => join(folder, name);
  await authority(path("ca"), "Hourglass Test Authority");
  await authority(path("strange"), "Some Other Authority");
  await signed(path("server"), path("ca"), "DNS:localhost,IP:127.0.0.1");
  await signed(path("other"), path("ca"), "DNS:other.example", path("server.key"));
  return {
    caFile: path("ca.pem"),
    certFile: path("server.pem"),
    keyFile: path("server.key"),
    strangeCaFile: path("strange.pem"),
    otherCertFile: path("other.pem"),
    delete: () => rmSync(folder, { recursive: true, force: true }),
  };
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

async function authority(path: string, name: string): Promise<void> {
  const usage = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"];
  const files = ["-keyout", `${path}.key`, "-out", `${path}.pem`];
  await openssl("req", "-x509", ...NEW_KEY, ...files, "-subj", `/CN=${name}`, "-days", "2", ...usage);
}

async function signed(path: string, caPath: string, names: string, keyFile?: string): Promise<void> {
  const key = keyFile === undefined ? [...NEW_KEY, "-keyout", `${path}.key`] : ["-new", "-key", keyFile];
  await openssl("req", ...key, "-out", `${path}.csr`, "-subj", "/CN=hourglass");
  writeFileSync(`${path}.ext`, `subjectAltName=${names}\nbasicConstraints=CA:FALSE\n`);
  const by = ["-CA", `${caPath}.pem`, "-CAkey", `${caPath}.key`, "-CAcreateserial"];
  const files = ["-in", `${path}.csr`, "-out", `${path}.pem`, "-extfile", `${path}.ext`];
  await openssl("x509", "-req", ...files, ...by, "-days", "2");
}

async function openssl(...args: readonly string[]): Promise<void> {
  const child = Bun.spawn(["openssl", ...args], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  const [errors, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`'openssl ${args.join(" ")}' failed (${code}):\n${errors}`);
}

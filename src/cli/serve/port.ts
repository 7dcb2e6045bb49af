/**
 * The port that the service listens on: finds out at the start, before anything is written, whether it will be able to
 * listen there, and explains why it can't.
 */
import type { Certificate } from "../../http/route-options.ts";
import { codeOf, errorText } from "../../runtime/error-text.ts";
import { readPem } from "../../settings/pem-file.ts";
import { type Config, ConfigError } from "../../settings/settings.ts";

type Listening = Pick<Config, "port" | "host" | "tlsCertFile" | "tlsKeyFile">;

const ADDRESS_ADVICE = "set HOST to an address of this machine, or to 0.0.0.0 for all of them";
/** By error code: what it means, and what to do. */
const ADVICE: Readonly<Record<string, string>> = {
  EADDRINUSE: "another process listens there; stop it, or set PORT to a free one",
  EADDRNOTAVAIL: `this is no address of this machine; ${ADDRESS_ADVICE}`,
  EINVAL: `this is no address to listen on, nor a name of one; ${ADDRESS_ADVICE}`,
  ENOTFOUND: `this is no address to listen on, nor a name of one; ${ADDRESS_ADVICE}`,
  EACCES: "this process may not use the port; set PORT to one above 1023, or grant it CAP_NET_BIND_SERVICE",
};

/** Throws ConfigError. */
export function certificateOf({ tlsCertFile, tlsKeyFile }: Listening): Certificate | undefined {
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return undefined;
  return { cert: readPem("TLS_CERT_FILE", tlsCertFile), key: readPem("TLS_KEY_FILE", tlsKeyFile) };
}

/** Throws ConfigError if the port is taken, even by processes that would share it. */
export async function tryPort(config: Listening): Promise<void> {
  const { port, host: hostname } = config;
  const certificate = certificateOf(config);
  const tls = certificate === undefined ? {} : { tls: { ...certificate } };
  const fetch = () => new Response(null, { status: 503 });
  await listening(config, () => Bun.serve({ port, hostname, ...tls, fetch })).stop(true);
}

/**
 * For workers, which share their port: keeps other instances with workers from it until this process ends. It is taken
 * before tryPort(), so that of several that start together one gets it. Throws ConfigError.
 */
export function reservePort(config: Listening): void {
  // An abstract name (Linux, as is sharing a port) belongs to the same network as the port, and ends with the process.
  if (process.platform !== "linux") return;
  const unix = `\0hourglass:${config.port}:${Bun.hash(config.host)}`;
  listening(config, () => Bun.listen({ unix, socket: { open: (socket) => void socket.end(), data() {} } }));
}

/** Throws ConfigError. */
export function listening<T>(config: Listening, listen: () => T): T {
  try {
    return listen();
  } catch (error) {
    throw new ConfigError(refusal(config, error));
  }
}

function refusal({ host, port, tlsCertFile, tlsKeyFile }: Listening, error: unknown): string {
  const code = codeOf(error);
  if (code.includes("_MISMATCH"))
    return (
      `TLS_KEY_FILE is '${tlsKeyFile}', which is not the key of the certificate '${tlsCertFile}' (${code}): ` +
      "set TLS_CERT_FILE and TLS_KEY_FILE to a certificate and its key"
    );
  if (/^ERR_O?SSL_/.test(code))
    return (
      `Cannot use the certificate '${tlsCertFile}' (TLS_CERT_FILE) with the key '${tlsKeyFile}' (TLS_KEY_FILE): ` +
      `${errorText(error)}; set them to PEM files of a certificate and its key, which has no passphrase`
    );
  const advice = ADVICE[code];
  const found = advice === undefined ? `${errorText(error)}; set PORT and HOST to others` : `${code}, ${advice}`;
  return `Cannot listen on ${host}:${port}: ${found}`;
}

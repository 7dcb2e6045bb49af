/** Sends requests to a running service: the one on this machine with the same settings, or another one. */
import { codeOf } from "../../runtime/error-text.ts";
import type { Config } from "../../settings/settings.ts";

type Listening = Pick<Config, "host" | "port" | "tlsCertFile">;

/** Uses the address from the settings, even if it stands for all addresses of the machine. */
export function listeningUrl({ host, port, tlsCertFile }: Listening): string {
  const protocol = tlsCertFile === undefined ? "http" : "https";
  return `${protocol}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Another try would not help. */
export class CertificateError extends Error {
  override readonly name = "CertificateError";
}

/** DEPTH_ZERO_SELF_SIGNED_CERT, ERR_TLS_CERT_ALTNAME_INVALID, UNABLE_TO_VERIFY_LEAF_SIGNATURE … */
const CERTIFICATE_CODE = /CERT|LEAF_SIGNATURE/;
const LOCAL_HOST = /^(localhost|127(\.\d+){3}|\[::1\])$/;

export class ServiceClient {
  /** Without a trailing slash. */
  readonly url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #isLocal: boolean;

  /** `url`: defaults to the service on this machine. */
  constructor(config: Listening & Pick<Config, "apiKey">, url?: string) {
    const { host, apiKey } = config;
    const isAnyAddress = host === "0.0.0.0" || host === "::";
    this.url = url ?? listeningUrl({ ...config, host: isAnyAddress ? "127.0.0.1" : host });
    this.#isLocal = url === undefined || LOCAL_HOST.test(new URL(url).hostname);
    this.#headers = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` };
  }

  /** Throws CertificateError. */
  async ask(path: string, request: BunFetchRequestInit = {}): Promise<Response> {
    const headers = { ...this.#headers, ...(request.headers as Record<string, string> | undefined) };
    // Bun would send even requests to 127.0.0.1 through HTTP_PROXY, to another machine.
    const direct = this.#isLocal ? { proxy: false as unknown as string } : {};
    try {
      return await fetch(`${this.url}${path}`, { ...request, ...direct, headers });
    } catch (error) {
      const code = codeOf(error);
      if (!CERTIFICATE_CODE.test(code)) throw error;
      throw new CertificateError(
        `the certificate of ${this.url} is not accepted (${code}): use --url https://NAME:PORT with a name that the ` +
          "certificate is for, and NODE_EXTRA_CA_CERTS=FILE if a private authority signed it",
      );
    }
  }
}

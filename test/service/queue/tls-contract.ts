/** The contract of every broker by TLS: its certificate must be signed by the named authority, for its host. */
import { describe, expect, test } from "bun:test";
import type { Certificates } from "../../harness/servers/certificates.ts";
import { readHour } from "../../harness/service/analytics-client.ts";
import { startService } from "../../harness/service/service.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { message, type QueueBroker } from "./queue-contract.ts";
import { disposable, event, HOUR, isConsuming, SLOWLY, sourceOf } from "./queue-site.ts";

export interface SecureBroker {
  readonly broker: QueueBroker;
  readonly certificates: Certificates;
  /** BROKER_URL by TLS. */
  urlOf(host: string): string;
}

/** The certificate names both. */
const HOSTS = ["localhost", "127.0.0.1"];
/** The same address, which the certificate does not name. */
const OTHER_HOST = "127.1";

export function tlsContract(secure: () => SecureBroker): void {
  const start = async (queue: string, host: string, caFile: string) => {
    const { broker, urlOf } = secure();
    const settings = { ...broker.settings(queue), BROKER_URL: urlOf(host), BROKER_CA_FILE: caFile };
    return disposable(await startService({ settings }));
  };

  async function isRefused(host: string, caFile: string, reason: RegExp): Promise<void> {
    await using started = await start("refused", host, caFile);
    const found = async () => {
      const source = await sourceOf(started.service);
      expect(source.reason).toMatch(reason);
      return source;
    };
    expect((await waitFor("the reason", found, SLOWLY)).status).toBe("connecting");
  }

  describe("by TLS", () => {
    test("messages are taken from a broker that the named authority vouches for", async () => {
      const { broker, certificates } = secure();
      for (const host of HOSTS) {
        const queue = `secure-${host}`;
        await broker.declare(queue);
        await using started = await start(queue, host, certificates.caFile);
        await isConsuming(started.service);
        await broker.publish(queue, [message(event("secure", "a"), "secure")]);
        const isCounted = async () => (await readHour(started.service.port, HOUR, "secure")).clicks === 1;
        await waitFor("the event to count", isCounted, SLOWLY);
      }
    });

    test("a certificate of another authority, or for another host, is refused with the reason", async () => {
      const { caFile, strangeCaFile } = secure().certificates;
      await isRefused(HOSTS[0]!, strangeCaFile, /self.signed certificate|unable to get local issuer|unable to verify/i);
      await isRefused(OTHER_HOST, caFile, /does not match certificate's altnames/);
    });
  });
}

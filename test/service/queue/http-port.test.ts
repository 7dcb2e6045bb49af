/** A BROKER_URL that names the broker's port for HTTP: the source says so, instead of its client's riddle. */
import { expect, test } from "bun:test";
import { createServer } from "node:net";
import { startService } from "../../harness/service/service.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { SETTINGS, SLOWLY, sourceOf } from "./queue-site.ts";

const BAD_REQUEST = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

test.each(["amqp", "amqp10"])("%s to a port for HTTP says what it may be", async (protocol) => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", () => socket.end(BAD_REQUEST));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as { port: number };
  const settings = { ...SETTINGS, BROKER_URL: `${protocol}://127.0.0.1:${port}`, BROKER_QUEUE: "events" };
  const service = await startService({ settings });
  try {
    const saysSo = async () => {
      const { reason } = await sourceOf(service);
      expect(reason).toStartWith("the broker answers in HTTP: is this its port for HTTP? (");
      return true;
    };
    await waitFor("the source to say so", saysSo, SLOWLY);
  } finally {
    await service.stop();
    server.close();
  }
});

import { afterEach, beforeEach, expect, test } from "bun:test";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { waitFor } from "../service/wait-for.ts";
import { startProxy, type TcpProxy } from "./tcp-proxy.ts";

let echo: Server;
let received: string;
let proxy: TcpProxy;
let clients: Client[];

interface Client {
  readonly socket: Socket;
  answers: string;
  isOver: boolean;
}

beforeEach(async () => {
  received = "";
  clients = [];
  echo = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      received += chunk;
      socket.write(chunk);
    });
  });
  echo.listen(0, "127.0.0.1");
  await once(echo, "listening");
  proxy = await startProxy((echo.address() as AddressInfo).port);
});

afterEach(async () => {
  for (const { socket } of clients) socket.destroy();
  await proxy.close();
  echo.close();
});

function open(): Client {
  const client: Client = { socket: connect(proxy.port, "127.0.0.1"), answers: "", isOver: false };
  client.socket.on("data", (chunk) => {
    client.answers += chunk;
  });
  client.socket.on("error", () => {});
  client.socket.on("close", () => {
    client.isOver = true;
  });
  clients.push(client);
  return client;
}

async function ask(client: Client, text: string): Promise<void> {
  const expected = client.answers + text;
  client.socket.write(text);
  await waitFor(`the answer '${text}'`, () => client.answers === expected);
}

test("passes on what either end sends, and that it closed", async () => {
  const client = open();
  await ask(client, "hello");
  client.socket.end();
  await waitFor("the end of the connection", () => client.isOver && proxy.connectionCount === 0);
});

test("passes on much more than a socket's buffer, complete", async () => {
  const client = open();
  await ask(client, "0123456789".repeat(500_000));
});

test("answers that are dropped never come, nor does what follows them; requests arrive", async () => {
  const client = open();
  await ask(client, "1");
  proxy.dropAnswers();
  client.socket.write("2");
  await waitFor("the request", () => received === "12");
  proxy.onDownstream = undefined;
  client.socket.write("3");
  await waitFor("the request", () => received === "123");
  const other = open();
  await ask(other, "4");
  expect(client.answers).toBe("1");
});

test("a hook can cut its own connection before a request arrives", async () => {
  const [client, other] = [open(), open()];
  await ask(client, "1");
  await ask(other, "2");
  proxy.onUpstream = (chunk, connection) => {
    if (chunk.toString() === "3") connection.cut();
    return chunk.toString() !== "3";
  };
  client.socket.write("3");
  await waitFor("the cut", () => client.isOver);
  await ask(other, "4");
  expect(received).toBe("124");
});

test("refuses new connections and keeps those there are, then accepts again on the same port", async () => {
  const client = open();
  await ask(client, "1");
  proxy.refuse();
  const refused = open();
  await waitFor("the refusal", () => refused.isOver);
  await ask(client, "2");
  await proxy.accept();
  await ask(open(), "3");
  proxy.cutAll();
  await waitFor("the cut", () => client.isOver);
  expect(proxy.connectionCount).toBe(0);
});

test("a delay holds each chunk, and a shorter one lets none overtake", async () => {
  const client = open();
  await ask(client, "1");
  let seen = "";
  proxy.onUpstream = (chunk) => {
    seen += chunk;
    return true;
  };
  proxy.delayMs = 50;
  client.socket.write("2");
  await waitFor("the request to be under way", () => seen === "2");
  proxy.delayMs = 0;
  client.socket.write("3");
  await waitFor("both answers", () => client.answers === "123");
  proxy.delayMs = 20;
  const startMs = performance.now();
  await ask(client, "4");
  expect(performance.now() - startMs).toBeGreaterThan(35);
});

test("close() ends connections that have fallen silent, and may be called again", async () => {
  const client = open();
  await ask(client, "1");
  proxy.dropAnswers();
  client.socket.write("2");
  await waitFor("the request", () => received === "12");
  await proxy.close();
  await waitFor("the end of the connection", () => client.isOver);
  await proxy.close();
});

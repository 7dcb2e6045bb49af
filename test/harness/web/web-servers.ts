/**
 * nginx, Apache and Caddy with access logs in their usual formats, each with its own count of requests to compare the
 * logs with. Each request for the count is itself logged.
 */
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { userInfo } from "node:os";
import { basename, dirname, join } from "node:path";
import { binary } from "../servers/binaries.ts";
import { freePort } from "../servers/ports.ts";
import { type ServerPlace, ServerProcess, type ServerProgram, startProgram } from "../servers/server-process.ts";
import { waitFor } from "../service/wait-for.ts";
import { type Conversation, HAS_IPV6 } from "./odd-requests.ts";

export interface Log {
  readonly file: string;
  /** Its lines hold the referrer. */
  readonly hasReferrer: boolean;
  /** Options of `hourglass import`. */
  readonly options: readonly string[];
}

export interface WebProgram {
  readonly name: string;
  readonly logs: readonly Log[];
  config(place: WebPlace): string;
  command(configFile: string, place: ServerPlace): string[];
  /** Requests and open connections, both with the one for this very page. */
  countsIn(page: string): readonly [requests: number, open: number];
}

interface WebPlace extends ServerPlace {
  /** A port at which nobody answers. */
  readonly deadPort: number;
  readonly countPath: string;
}

const isRoot = userInfo().uid === 0;

const TEMPORARY = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/** One process, so that none outlives the one that is killed. */
const NGINX: WebProgram = {
  name: "nginx",
  logs: [
    { file: "combined.log", hasReferrer: true, options: [] },
    { file: "json.log", hasReferrer: true, options: ["--fields", "time=at,user=client,method=how,status=code"] },
  ],
  config: ({ port, dataDir, folder, countPath, deadPort }) => `
daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr crit; ${isRoot ? "user root;" : ""}
events { worker_connections 4096; }
http {
  ${TEMPORARY.map((name) => `${name}_temp_path ${folder}/${name};`).join(" ")}
  log_format by_name escape=json '{"at":$msec,"client":"$remote_addr","login":"$remote_user","how":"$request_method",'
    '"what":"$request_uri","code":$status,"http_referer":"$http_referer","http_user_agent":"$http_user_agent"}';
  access_log ${dataDir}/combined.log combined;
  access_log ${dataDir}/json.log by_name;
  set_real_ip_from 127.0.0.0/8; set_real_ip_from ::1; real_ip_header X-Forwarded-For;
  server {
    listen 127.0.0.1:${port}; ${HAS_IPV6 ? `listen [::1]:${port};` : ""}
    location / { return 200 "ok"; }
    location /missing { return 404; }
    location /moved { return 301 /; }
    location /broken { proxy_pass http://127.0.0.1:${deadPort}; }
    location = ${countPath} { stub_status; }
  }
}`,
  command: (configFile, { folder }) => [binary("nginx"), "-p", folder, "-c", configFile],
  countsIn: (page) => [numberIn(page, /\n \d+ \d+ (\d+)/), numberIn(page, /Active connections: (\d+)/)],
};

const MODULES = [
  ...["mpm_event", "authn_core", "authn_anon", "authz_core", "authz_user", "auth_basic", "status"],
  ...["alias", "proxy", "proxy_http", "reqtimeout"],
];

const APACHE: WebProgram = {
  name: "apache2",
  logs: [
    { file: "combined.log", hasReferrer: true, options: [] },
    { file: "vhost_combined.log", hasReferrer: true, options: [] },
    { file: "common.log", hasReferrer: false, options: [] },
  ],
  config: ({ port, dataDir, folder, countPath, deadPort }) => `
ServerRoot ${folder}
PidFile ${folder}/apache.pid
DefaultRuntimeDir ${folder}
ServerName shop.example
DocumentRoot /
ErrorLog ${folder}/errors
LogLevel crit
Listen 127.0.0.1:${port}
${HAS_IPV6 ? `Listen [::1]:${port}` : ""}
${MODULES.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join("\n")}
${isRoot ? "User www-data\nGroup www-data" : ""}
LogFormat "%v:%p %h %l %u %t \\"%r\\" %>s %O \\"%{Referer}i\\" \\"%{User-Agent}i\\"" vhost_combined
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{Referer}i\\" \\"%{User-Agent}i\\"" combined
LogFormat "%h %l %u %t \\"%r\\" %>s %O" common
CustomLog ${dataDir}/vhost_combined.log vhost_combined
CustomLog ${dataDir}/combined.log combined
CustomLog ${dataDir}/common.log common
ExtendedStatus On
Redirect 301 /moved /
Redirect 404 /missing
RedirectMatch 200 "^/(?!broken|moved|missing|login|count-)"
ProxyPass /broken http://127.0.0.1:${deadPort}/
<Location "/login">
  AuthType Basic
  AuthName any
  AuthBasicProvider anon
  Anonymous *
  Anonymous_MustGiveEmail Off
  Require valid-user
</Location>
<Location "${countPath}">
  SetHandler server-status
</Location>`,
  command: (configFile) => [binary("apache2"), "-X", "-f", configFile],
  // It counts a request once it is answered.
  countsIn: (page) => [1 + numberIn(page, /^Total Accesses: (\d+)/m), numberIn(page, /^BusyWorkers: (\d+)/m)],
};

const CADDY: WebProgram = {
  name: "caddy",
  logs: [{ file: "all.log", hasReferrer: true, options: [] }],
  // Its other messages go into the same log.
  config: ({ port, dataDir, countPath, deadPort }) => `
{
  admin off
  auto_https off
  log {
    output file ${dataDir}/all.log {
      roll_disabled
    }
  }
  servers {
    metrics
  }
}
http://:${port} {
  bind 127.0.0.1 ${HAS_IPV6 ? "::1" : ""}
  log
  route {
    metrics ${countPath}
    redir /moved* /
    respond /missing* 404
    reverse_proxy /broken* 127.0.0.1:${deadPort}
    respond "ok"
  }
}`,
  command: (configFile, { folder }) => [
    ...["env", `HOME=${folder}`, `XDG_DATA_HOME=${folder}`, `XDG_CONFIG_HOME=${folder}`],
    ...[binary("caddy"), "run", "--adapter", "caddyfile", "--config", configFile],
  ],
  countsIn: (page) => [
    1 + numberIn(page, /^caddy_http_requests_total\{.*\} (\S+)/m),
    numberIn(page, /^caddy_http_requests_in_flight\{.*\} (\d+)/m),
  ],
};

export const WEB_PROGRAMS = [NGINX, APACHE, CADDY] as const;

const ANSWER_TIMEOUT_MS = 10_000;
const SILENCE_TIMEOUT_MS = 60_000;
const CONNECTIONS = 24;

export async function startWebServer(program: WebProgram): Promise<WebServer> {
  const deadPort = await freePort();
  return await startProgram((port) => new WebServer(program, port, deadPort));
}

export class WebServer extends ServerProcess {
  readonly #program: WebProgram;

  constructor(program: WebProgram, port: number, deadPort: number) {
    super(serverProgram(program, deadPort), port);
    this.#program = program;
  }

  path(log: Log): string {
    return join(this.dataDir, log.file);
  }

  /** All requests since its start, with the one that this takes. */
  async count(): Promise<number> {
    return await waitFor(`the connections to ${this.#program.name} to end`, async () => {
      const [requests, open] = this.#program.countsIn(await page(this.port, dirname(this.dataDir)));
      return open === 1 && requests;
    });
  }

  /** Until the server has counted that many requests. */
  async converse(conversations: Iterator<Conversation>, requestCount: number): Promise<void> {
    while ((await this.count()) < requestCount) {
      const lane = async () => {
        for (let i = 0; i < CONNECTIONS; i++) await this.#talk(conversations.next().value);
      };
      await Promise.all(Array.from({ length: CONNECTIONS }, lane));
    }
  }

  /** Resolves at the end of the connection: then the server has counted and logged everything. */
  #talk({ from, bytes, isWhole }: Conversation): Promise<void> {
    return new Promise((resolve, reject) => {
      const host = from === "::1" ? "::1" : "127.0.0.1";
      const socket = connect({ port: this.port, host, localAddress: from }, () => {
        if (isWhole) socket.write(bytes);
        else socket.end(bytes);
      });
      socket.setTimeout(SILENCE_TIMEOUT_MS, () => {
        reject(new Error(`no end after ${JSON.stringify(bytes.toString("latin1"))}`));
        socket.destroy();
      });
      socket.on("data", () => {});
      // A server that refuses a request does not read the rest.
      socket.on("error", () => {});
      socket.on("close", () => resolve());
    });
  }
}

function serverProgram(program: WebProgram, deadPort: number): ServerProgram {
  const configIn = (folder: string) => join(folder, "config");
  return {
    name: program.name,
    startTimeoutMs: 30_000,
    prepare: async (place) => {
      const config = program.config({ ...place, deadPort, countPath: countPath(place.folder) });
      writeFileSync(configIn(place.folder), config);
    },
    command: (place) => program.command(configIn(place.folder), place),
    isReady: async ({ port, folder }) => (await page(port, folder)) !== "",
  };
}

/** No other server answers it. */
function countPath(folder: string): string {
  return `/count-${basename(folder)}`;
}

async function page(port: number, folder: string): Promise<string> {
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  const headers = { connection: "close" };
  const response = await fetch(`http://127.0.0.1:${port}${countPath(folder)}?auto`, { signal, headers });
  if (!response.ok) throw new Error(`${countPath(folder)} was answered with ${response.status}`);
  return await response.text();
}

function numberIn(page: string, pattern: RegExp): number {
  return Number(pattern.exec(page)?.[1] ?? 0);
}

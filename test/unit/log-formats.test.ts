/** Log lines as servers write them, and what each says about its request. */
import { describe, expect, test } from "bun:test";
import { eventReader, type Filters, filterOf } from "../../src/cli/import/event-reader.ts";
import { customLogReader } from "../../src/cli/import/formats/custom-log.ts";
import { type FieldMap, jsonLogReader } from "../../src/cli/import/formats/json-log.ts";
import { type Format, logReaderOf } from "../../src/cli/import/formats/known-formats.ts";
import { type Layout, layoutOf } from "../../src/cli/import/formats/layout.ts";
import { type LogLine, LogTimes } from "../../src/cli/import/formats/log-line.ts";
import { TimeZone } from "../../src/domain/time-zone.ts";

const UTC = TimeZone.named("UTC")!;
const NOON = Date.UTC(2026, 0, 31, 12);
const AT = Date.UTC(2026, 4, 17, 10, 5, 3);
const COMMON = '1.2.3.4 - - [31/Jan/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 17';

function layout(format: Format, columns: readonly string[] = []): Layout {
  return { format, columns, start: { offset: 0, line: 1 }, separator: "" };
}

function read(format: Format, text: string): LogLine | "none" | undefined {
  return logReaderOf(layout(format), {})!(text);
}

describe("a line of an access log", () => {
  const lines: Readonly<Record<string, readonly [string, string | undefined]>> = {
    common: [COMMON, undefined],
    combined: [`${COMMON} "https://a.example/" "Mozilla/5.0 (X11)"`, "https://a.example/"],
    "combined, without a referrer": [`${COMMON} "-" "curl"`, undefined],
    "with fields more": [`${COMMON} "https://a.example/" "curl" 0.012 "x"`, "https://a.example/"],
    "common, with a field more": [`${COMMON} 0.012`, undefined],
    "with escaped quotes": [`${COMMON.replace("GET /", 'GET /\\"x\\\\')} "https://a/\\"" "\\""`, 'https://a/\\"'],
    "of another user and offset": [
      COMMON.replace("- -", "- frank").replace("12:00:00 +0000", "13:30:00 +0130"),
      undefined,
    ],
    "without bytes": [COMMON.replace("200 17", "304 -"), undefined],
    "with the virtual host in front": [`a.example:80 ${COMMON}`, undefined],
    "with the virtual host in front, without a port": [`a.example ${COMMON}`, undefined],
    "with the client's port": [COMMON.replace("1.2.3.4", "1.2.3.4:50001"), undefined],
    "with the addresses of proxies": [COMMON.replace("1.2.3.4", "1.2.3.4, 10.0.0.1,10.0.0.2"), undefined],
    "with proxies and a virtual host": [COMMON.replace("1.2.3.4", "a.example:80 1.2.3.4, 10.0.0.1"), undefined],
    "with two blanks": [COMMON.replace("- - ", "-  -  "), undefined],
    "with an empty user": [COMMON.replace("- - ", "-  "), undefined],
    "with a user that has blanks": [COMMON.replace("- -", "- John Doe"), undefined],
    "with a user in quotes": [COMMON.replace("- -", '- "a b"'), undefined],
    "with a user that has a bracket": [COMMON.replace("- -", "- a[b"), undefined],
  };
  for (const [what, [line, referrer]] of Object.entries(lines)) {
    test(`${what} is read`, () => {
      expect(read("log", line)).toMatchObject({ user: "1.2.3.4", at: NOON, status: expect.any(String) });
      expect((read("log", line) as LogLine).referrer).toBe(referrer);
    });
  }

  test("says method, path, status and agent", () => {
    expect(read("log", `${COMMON.replace("GET /", "POST /a?b=c")} "-" "curl/8"`)).toMatchObject({
      ...{ method: "POST", path: "/a?b=c", status: "200", agent: "curl/8" },
    });
  });

  const clients: Readonly<Record<string, string>> = {
    "2001:db8::1": "2001:db8::1",
    "[2001:db8::1]:443": "2001:db8::1",
    "client.example": "client.example",
    "client.example:50001": "client.example:50001",
    "a.example:80 client.example": "client.example",
    "unix:": "unix:",
  };
  for (const [text, user] of Object.entries(clients)) {
    test(`of '${text}' has the client ${user}`, () => {
      expect(read("log", COMMON.replace("1.2.3.4", text))).toMatchObject({ user });
    });
  }

  const broken: Readonly<Record<string, string>> = {
    "of another kind": "hello, world",
    "cut off in the request": COMMON.slice(0, 55),
    "cut off in the referrer": `${COMMON} "https://a.exam`,
    "with an address alone": COMMON.replace("- - ", ""),
    "of 30 February": COMMON.replace("31/Jan", "30/Feb"),
    "of an unknown month": COMMON.replace("Jan", "Jen"),
    "of the 25th hour": COMMON.replace(":12:", ":25:"),
    "without an offset": COMMON.replace(" +0000", ""),
  };
  for (const [what, line] of Object.entries(broken)) {
    test(`${what} is none`, () => expect(read("log", line)).toBeUndefined());
  }

  test("has its own time, whatever line was before", () => {
    const lines = logReaderOf(layout("log"), {})!;
    expect(lines(COMMON)).toMatchObject({ at: NOON });
    expect(lines(COMMON.replace("12:00:00", "12:00:01"))).toMatchObject({ at: NOON + 1_000 });
    expect(lines(COMMON.replace("31/Jan", "30/Feb"))).toBeUndefined();
    expect(lines(COMMON)).toMatchObject({ at: NOON });
  });
});

describe("a line of a JSON log", () => {
  const CADDY = {
    ...{ level: "info", ts: 1779012303.327, logger: "http.log.access", msg: "handled request" },
    request: {
      ...{
        remote_ip: "203.0.113.9",
        remote_port: "41000",
        proto: "HTTP/2.0",
        method: "GET",
        host: "a.example",
      },
      ...{ uri: "/", headers: { "User-Agent": ["x"], Referer: ["https://r.example/"] } },
    },
    ...{ status: 200, size: 1 },
  };
  const EXPECTED = {
    ...{ user: "203.0.113.9", at: AT + 327, method: "GET", path: "/", status: "200" },
    ...{ referrer: "https://r.example/", agent: "x" },
  };
  const TRAEFIK = {
    ...{
      ClientAddr: "203.0.113.9:50001",
      ClientHost: "203.0.113.9",
      DownstreamStatus: 200,
      RequestMethod: "GET",
    },
    ...{
      RequestPath: "/",
      StartUTC: "2026-05-17T10:05:03.327123456Z",
      request_Referer: "https://r.example/",
    },
    ...{ "request_User-Agent": "x", level: "info", time: "2026-05-17T10:05:04Z" },
  };
  const NGINX = {
    ...{ time_iso8601: "2026-05-17T12:05:03+02:00", remote_addr: "203.0.113.9", request_method: "GET" },
    ...{ request_uri: "/", status: "200", http_referer: "https://r.example/", http_user_agent: "x" },
  };

  test("of Caddy, Traefik and nginx is read", () => {
    expect(read("json", JSON.stringify(CADDY))).toEqual(EXPECTED);
    expect(read("json", JSON.stringify(TRAEFIK))).toEqual(EXPECTED);
    expect(read("json", JSON.stringify(NGINX))).toEqual({ ...EXPECTED, at: AT });
    const { time_iso8601: _, ...rest } = NGINX;
    expect(read("json", JSON.stringify({ ...rest, msec: "1779012303.327" }))).toEqual(EXPECTED);
    expect(read("json", JSON.stringify({ ...rest, time_local: "17/May/2026:10:05:03 +0000" }))).toEqual({
      ...EXPECTED,
      at: AT,
    });
  });

  test("of Caddy has the client behind proxies, if Caddy knows it", () => {
    const request = { ...CADDY.request, client_ip: "198.51.100.7" };
    expect(read("json", JSON.stringify({ ...CADDY, request }))).toMatchObject({ user: "198.51.100.7" });
  });

  test("that is another message of Caddy's stands for no request", () => {
    const message = { level: "info", ts: 1779012303.327, logger: "admin", msg: "stopped previous server" };
    expect(read("json", JSON.stringify(message))).toBe("none");
    expect(read("json", "{}")).toBeUndefined();
    expect(read("json", "null")).toBeUndefined();
    expect(read("json", JSON.stringify({ ...CADDY, ts: undefined }))).toBeUndefined();
  });

  test("of Caddy's about an error with a request stands for none: the request has a line of its own", () => {
    for (const logger of ["http.log.error", "http.log.error.log0", "http.handlers.reverse_proxy"])
      expect(read("json", JSON.stringify({ ...CADDY, logger }))).toBe("none");
    for (const logger of ["http.log.access", "http.log.access.log0"])
      expect(read("json", JSON.stringify({ ...CADDY, logger }))).toEqual(EXPECTED);
  });

  test("of nginx without escape=json is read, though it is no JSON", () => {
    const text = JSON.stringify({ ...NGINX, request_uri: "/~", http_user_agent: "~" }).replaceAll("~", "\\x22");
    expect(read("json", text)).toEqual({ ...EXPECTED, at: AT, path: '/"', agent: '"' });
  });

  test("of another server is read by a map of fields", () => {
    const fields: FieldMap = { time: "at", user: "client.ip", request: "req", referrer: "from" };
    const lines = jsonLogReader(new LogTimes(undefined), fields);
    const value = {
      at: AT,
      client: { ip: "203.0.113.9" },
      req: "GET / HTTP/1.1",
      from: "https://r.example/",
    };
    expect(lines(JSON.stringify(value))).toMatchObject({
      ...{ user: "203.0.113.9", at: AT, method: "GET", path: "/", referrer: "https://r.example/" },
    });
  });
});

const ALB =
  "h2 2026-05-17T10:05:03.356787Z app/lb/50dc6c495c0c9188 203.0.113.9:62611 10.0.0.1:443 0.0 0.0 0.0 200 200 5 1 " +
  '"GET https://shop.example:443/a?b HTTP/2.0" "x" - - arn:aws:none "Root=1-58337262-36d228ad5d99923122bbe354" ' +
  '"-" "-" 0 2026-05-17T10:05:03.356000Z "forward" "-" "-" "10.0.0.1:443" "200" "-" "-"';

test("a line of an AWS load balancer is read", () => {
  expect(read("alb", ALB)).toEqual({
    ...{ user: "203.0.113.9", at: AT + 356, method: "GET", path: "/a?b", status: "200", agent: "x" },
    referrer: undefined,
  });
  expect(read("alb", ALB.replace("203.0.113.9:62611", "2001:db8::1:62611"))).toMatchObject({
    user: "2001:db8::1",
  });
  expect(read("alb", ALB.slice(0, 100))).toBeUndefined();
});

const IIS_FIELDS =
  "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) " +
  "sc-status sc-substatus sc-win32-status time-taken";
const IIS = "2026-05-17 10:05:03 10.0.0.1 GET / - 443 - 203.0.113.9 Mozilla/5.0+(X11) https://r.example/ 200 0 0 15";
const CLOUDFRONT_FIELDS =
  "#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) " +
  "cs(User-Agent) cs-uri-query";
const CLOUDFRONT =
  "2026-05-17\t10:05:03\tFRA2\t1\t203.0.113.9\tGET\td.example\t/\t200\thttps://r.example/\tMozilla/5.0%20(X11)\t-";

describe("a W3C log", () => {
  const EXPECTED = {
    ...{ user: "203.0.113.9", at: AT, method: "GET", path: "/", status: "200" },
    ...{ referrer: "https://r.example/", agent: "Mozilla/5.0 (X11)" },
  };
  for (const [name, fields, line] of [
    ["IIS", IIS_FIELDS, IIS],
    ["CloudFront", CLOUDFRONT_FIELDS, CLOUDFRONT],
  ] as const) {
    test(`of ${name} is read, and its format detected`, () => {
      const text = `#Version: 1.0\n${fields}\n${line}\n`;
      const found = layoutOf(Buffer.from(text), "auto")!;
      expect(found.format).toBe("w3c");
      const lines = logReaderOf(found, { zone: UTC })!;
      expect(text.trim().split("\n").map(lines)).toEqual(["none", "none", EXPECTED]);
      expect(lines(line.slice(0, 40))).toBeUndefined();
    });
  }

  test("whose fields change is read on with the new ones", () => {
    const found = layoutOf(Buffer.from(IIS_FIELDS), "w3c")!;
    const lines = logReaderOf(found, { zone: UTC })!;
    const texts = [IIS_FIELDS, IIS, CLOUDFRONT_FIELDS, CLOUDFRONT, IIS, "#Fields: date time", IIS];
    const read = texts.map((text) => lines(text));
    expect(read).toEqual(["none", EXPECTED, "none", EXPECTED, undefined, "none", undefined]);
  });

  test("without fields is refused", () => {
    expect(() => layoutOf(Buffer.from(IIS), "w3c")).toThrow("#Fields");
  });
});

describe("a format string", () => {
  const times = () => new LogTimes(undefined);
  const EXPECTED = {
    ...{ user: "203.0.113.9", at: AT, method: "GET", path: "/", status: "200" },
    ...{ referrer: "https://r.example/", agent: 'x "y" z' },
  };
  const tail = '"GET / HTTP/1.1" 200 "https://r.example/" "x \\"y\\" z"';

  test("of nginx and of Apache describes lines", () => {
    const escaped = { ...EXPECTED, agent: 'x \\"y\\" z' };
    const nginx = '$host $remote_addr [$time_local] "$request" $status "$http_referer" "$http_user_agent"';
    const line = `a.example 203.0.113.9 [17/May/2026:10:05:03 +0000] ${tail}`;
    expect(customLogReader(nginx, times())(line)).toEqual(escaped);
    const apache = '%v:%p %h %t "%r" %>s "%{Referer}i" "%{User-Agent}i"';
    const apacheLine = `a.example:443 203.0.113.9 [17/May/2026:10:05:03 +0000] ${tail}`;
    expect(customLogReader(apache, times())(apacheLine)).toEqual(escaped);
    expect(customLogReader("$msec|$remote_addr|$http_referer", times())("1779012303.000|203.0.113.9|-")).toMatchObject({
      ...{ user: "203.0.113.9", at: AT, referrer: undefined },
    });
  });

  test("does not fit other lines", () => {
    const lines = customLogReader('$remote_addr [$time_local] "$request"', times());
    for (const line of ["", "hello", COMMON, '1.2.3.4 [31/Jan/2026:12:00:00 +0000] "GET /'])
      expect(lines(line)).toBeUndefined();
  });

  test("has to have time and client", () => {
    expect(() => customLogReader("$remote_addr $request", times())).toThrow("no time: expected one of time_local");
    expect(() => customLogReader("%t %r", times())).toThrow("no user");
  });
});

describe("the format is detected", () => {
  const heads: Readonly<Record<string, Format>> = {
    [ALB]: "alb",
    '{"level":"info","ts":1779012303.327,"request":{"remote_ip":"203.0.113.9"},"status":200}': "json",
    '{"level":"info","ts":1779012303,"logger":"tls","msg":"x"}': "json",
    '{"timestamp":1,"user":"a","event":"click"}': "ndjson",
    [`shop.example:443 ${COMMON}`]: "log",
    [IIS_FIELDS]: "w3c",
  };
  for (const [head, format] of Object.entries(heads)) {
    test(`${format}: ${head.slice(0, 40)}`, () => {
      expect(layoutOf(Buffer.from(head), "auto")!.format).toBe(format);
    });
  }
});

describe("a filter", () => {
  const NONE: Filters = {
    ...{ skipBots: false, skipAssets: false, status: undefined, method: undefined },
    ...{ path: undefined, skipPath: undefined },
  };
  const LINE = {
    ...{ user: "a", at: AT, referrer: undefined, method: "GET", path: "/shop/a.css?v=1", status: "304" },
    agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36",
  };
  const bot = { ...LINE, agent: "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)" };
  const cases: readonly (readonly [Partial<Filters>, LogLine, string | undefined])[] = [
    [{}, bot, undefined],
    [{ skipBots: true }, bot, "bots"],
    [{ skipBots: true }, { ...LINE, agent: undefined }, "bots"],
    [{ skipBots: true }, LINE, undefined],
    [{ skipAssets: true }, LINE, "assets"],
    [{ skipAssets: true }, { ...LINE, path: "/a?b.css" }, undefined],
    [{ status: ["200", "3xx"] }, LINE, undefined],
    [{ status: ["200", "4xx"] }, LINE, "other statuses"],
    [{ method: ["GET"] }, LINE, undefined],
    [{ method: ["POST"] }, LINE, "other methods"],
    [{ path: ["/", "/shop/*"] }, LINE, undefined],
    [{ path: ["/", "/shop"] }, LINE, "other paths"],
    [{ skipPath: ["/shop/*"] }, LINE, "other paths"],
    [{ skipPath: ["/health"] }, LINE, undefined],
  ];
  for (const [filters, line, reason] of cases) {
    test(`${JSON.stringify(filters)} answers ${reason}`, () => {
      expect(filterOf({ ...NONE, ...filters })(line)).toBe(reason as undefined);
    });
  }

  test("leaves a line out, which is no bad line", () => {
    const options = {
      stream: "s",
      logKind: "referrer",
      isIdNew: false,
      earliest: 0,
      filters: { ...NONE, method: ["POST"] },
    } as const;
    const reader = eventReader(layout("log"), options);
    expect(reader(COMMON, "id", NOON)).toEqual({ leftOut: "other methods" });
    expect(reader(COMMON.replace("GET", "POST"), "id", NOON)).toMatchObject({ kind: "impression" });
  });
});

/** A headless Chromium, and pages of their own origin, like those of the service's users. */
import { closeSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { binary } from "../servers/binaries.ts";
import { postGuardian } from "../servers/guardian.ts";

/**
 * Its own sandbox does not work for root, nor in most containers. The pages are ours. An animation without an end takes
 * a tenth of a core for as long as its page is open, 60 pictures a second. By default, what is pressed before a page is
 * drawn is dropped.
 */
const FLAGS = [
  ...["--no-sandbox", "--disable-dev-shm-usage"],
  ...["--force-prefers-reduced-motion", "--allow-pre-commit-input"],
];

export interface Browser {
  readonly view: Bun.WebView;
  close(): void;
}

/** One at a time. It ends with this process, whatever happens, and so does all that it writes. */
export function openBrowser(): Browser {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-chromium-"));
  const guardian = postGuardian(folder, 'rm -rf "$1"');
  // It leaves its lock in the folder for temporary files.
  const path = join(folder, "chromium");
  writeFileSync(path, `#!/bin/sh\nTMPDIR='${folder}' exec '${binary("chromium")}' "$@"\n`, { mode: 0o755 });
  const backend = { type: "chrome", url: false, path, argv: FLAGS } as const;
  return {
    view: new Bun.WebView({ backend, width: 800, height: 600 }),
    close() {
      Bun.WebView.closeAll();
      closeSync(guardian);
    },
  };
}

export interface Pages {
  readonly origin: string;
  /** The address of a page with this body. */
  add(body: string): string;
  addScript(path: string, source: string): void;
  stop(): Promise<void>;
}

export function servePages(): Pages {
  const bodies = new Map<string, string>();
  const scripts = new Map<string, string>();
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch({ url }) {
      const { pathname } = new URL(url);
      const script = scripts.get(pathname);
      if (script !== undefined) return new Response(script, { headers: { "content-type": "text/javascript" } });
      const body = bodies.get(pathname);
      if (body === undefined) return new Response(null, { status: 404 });
      const text = `<!doctype html><title>page</title><link rel="icon" href="data:,"><body>${body}`;
      return new Response(text, { headers: { "content-type": "text/html; charset=utf-8" } });
    },
  });
  return {
    origin: server.url.origin,
    add(body) {
      const path = `/${bodies.size}`;
      bodies.set(path, body);
      return `${server.url.origin}${path}`;
    },
    addScript: (path, source) => scripts.set(path, source),
    stop: () => server.stop(true),
  };
}

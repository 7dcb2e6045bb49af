/**
 * Installs the servers of the tests (Redis, MariaDB, RabbitMQ, Kafka, ActiveMQ, HAProxy, Chromium; more for the long
 * tests) on Debian and its derivatives, as root or with passwordless sudo. Elsewhere it says what to install.
 */
import { fetchJars } from "../../test/harness/brokers/jars.ts";
import {
  debianPackages,
  isCi,
  jarServersIn,
  missingBinaries,
  type ServerKind,
  whyServersCannotRun,
} from "../../test/harness/servers/binaries.ts";
import { runStep } from "../step.ts";

/**
 * Debian starts a server as soon as it is installed, on a port that may be in use. A policy-rc.d that answers 101
 * forbids that; an existing one is left as it is.
 */
const INSTALL = `
set -eu
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
  trap 'rm -f "$guard"' EXIT
  trap 'exit 1' INT TERM
  printf '#!/bin/sh\\nexit 101\\n' > "$guard"
  chmod 755 "$guard"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends "$@"
`;

export interface Provision {
  readonly kinds: readonly ServerKind[];
  /** Without asking on a terminal. */
  readonly mayInstall: boolean;
  readonly signal: AbortSignal;
}

export async function provideServers(provision: Provision): Promise<void> {
  const { kinds, signal } = provision;
  await installMissing(provision);
  // About 20 s the first time.
  for (const server of jarServersIn(kinds)) {
    if (missingBinaries([server]).length > 0) continue;
    await fetchJars(server, signal).catch((error) => console.warn(String(error)));
  }
  const reason = whyServersCannotRun(kinds);
  if (reason !== undefined) console.warn(`\nNOT ALL TESTS CAN RUN HERE: ${reason}\n`);
}

async function installMissing({ kinds, mayInstall, signal }: Provision): Promise<void> {
  const missing = kinds.filter((kind) => missingBinaries([kind]).length > 0);
  if (missing.length === 0) return;
  const packages = debianPackages(missing);
  const asRoot = Bun.which("apt-get") === null ? undefined : howToBecomeRoot();
  if (asRoot !== undefined && process.env["INSTALL_SERVERS"] !== "0") {
    console.log(`The tests need ${packages.join(", ")}: apt-get installs them, in 1 to 3 minutes (up to 1 GB).`);
    if (mayInstall || isAgreed())
      await runStep([...asRoot, "sh", "-c", INSTALL, "install-servers", ...packages], { signal });
  }
}

/** Where there is nobody to ask, the answer is yes. */
function isAgreed(): boolean {
  if (isCi() || !process.stdin.isTTY) return true;
  const answer = prompt("Install them now? [Y/n]") ?? "";
  return !/^n/i.test(answer.trim());
}

/** The prefix for a command that needs root, or undefined where root is out of reach. */
function howToBecomeRoot(): readonly string[] | undefined {
  if (process.getuid?.() === 0) return [];
  const sudo = Bun.which("sudo");
  if (sudo === null) return undefined;
  const asked = Bun.spawnSync([sudo, "-n", "true"], { stdout: "ignore", stderr: "ignore" });
  return asked.success ? [sudo, "-n"] : undefined;
}

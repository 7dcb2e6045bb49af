/**
 * Brings what the tests start (Redis, MariaDB, RabbitMQ, HAProxy, Chromium), where this may be done without asking: on
 * Debian and its kin, as root or with a sudo that wants no password. Elsewhere it says what to install.
 */
import {
  debianPackages,
  missingBinaries,
  SERVER_KINDS,
  whyServersCannotRun,
} from "../test/harness/servers/binaries.ts";
import { runStep } from "./step.ts";

/**
 * Debian starts a server as soon as it is installed, on the port that one's own may want. A policy-rc.d that
 * answers 101 forbids that; one that is there already is somebody else's, and stays.
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

export async function provideServers(signal: AbortSignal): Promise<void> {
  const missing = SERVER_KINDS.filter((kind) => missingBinaries([kind]).length > 0);
  if (missing.length === 0) return;
  const asRoot = howToBecomeRoot();
  if (asRoot !== undefined && mayInstall()) {
    const packages = debianPackages(missing);
    console.log(`== installing ${packages.join(" ")} (INSTALL_SERVERS=0 forbids it)`);
    await runStep([...asRoot, "sh", "-c", INSTALL, "install-servers", ...packages], { signal });
  }
  const reason = whyServersCannotRun(SERVER_KINDS);
  if (reason !== undefined) console.warn(`\nNOT ALL TESTS CAN RUN HERE: ${reason}\n`);
}

function mayInstall(): boolean {
  return process.env["INSTALL_SERVERS"] !== "0" && Bun.which("apt-get") !== null;
}

/** What to put before a command, or undefined where root is out of reach. */
function howToBecomeRoot(): readonly string[] | undefined {
  if (process.getuid?.() === 0) return [];
  const sudo = Bun.which("sudo");
  if (sudo === null) return undefined;
  const asked = Bun.spawnSync([sudo, "-n", "true"], { stdout: "ignore", stderr: "ignore" });
  return asked.success ? [sudo, "-n"] : undefined;
}

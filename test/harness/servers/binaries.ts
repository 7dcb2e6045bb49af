/** The programs that tests start, and what is missing where they can't. */
import { hasJars, type JarServer } from "../brokers/jars.ts";
import { newerServer, whyNewerServerCannotRun } from "../debian/newer-servers.ts";

/** A browser is no server, nor is a balancer, but they are needed, brought and missed in the same way. */
export type ServerKind = "redis" | "mariadb" | "rabbitmq" | JarServer | "haproxy" | "chromium" | "web" | "containers";

/** The programs that each server needs, and the Debian packages that provide them. */
const NEEDS: Record<ServerKind, { binaries: readonly string[]; debianPackages: readonly string[] }> = {
  redis: { binaries: ["redis-server"], debianPackages: ["redis-server"] },
  mariadb: { binaries: ["mariadbd", "mariadb-install-db"], debianPackages: ["mariadb-server"] },
  rabbitmq: { binaries: ["rabbitmq-server", "erl", "epmd"], debianPackages: ["rabbitmq-server"] },
  // Their jars come by Maven (test/harness/brokers/jars.ts).
  kafka: { binaries: ["java", "mvn", "kcat"], debianPackages: ["default-jre-headless", "maven", "kcat"] },
  activemq: { binaries: ["java", "mvn"], debianPackages: ["default-jre-headless", "maven"] },
  haproxy: { binaries: ["haproxy"], debianPackages: ["haproxy"] },
  chromium: { binaries: ["chromium"], debianPackages: ["chromium"] },
  web: { binaries: ["nginx", "apache2", "caddy"], debianPackages: ["nginx", "apache2-bin", "caddy"] },
  containers: {
    binaries: ["buildah", "podman", "runc", "podman-compose", "iptables", "catatonit"],
    debianPackages: [
      "buildah",
      "podman",
      "runc",
      "podman-compose",
      "iptables",
      "catatonit",
      "netavark",
      "aardvark-dns",
    ],
  },
};

export const ALL_KINDS = Object.keys(NEEDS) as readonly ServerKind[];
/** The others are only part of the long tests. */
export const SERVER_KINDS = ALL_KINDS.filter((kind) => kind !== "containers" && kind !== "web");

/** Where servers are put by systems that leave them out of a plain user's PATH. */
const MORE_FOLDERS = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec", "/opt/homebrew/bin"];

export function findBinary(name: string): string | undefined {
  const { PATH = "" } = process.env;
  return Bun.which(name, { PATH: [PATH, ...MORE_FOLDERS].join(":") }) ?? undefined;
}

/** The path of a binary that must be there. */
export function binary(name: string): string {
  const path = findBinary(name);
  if (path === undefined) throw new Error(`'${name}' is not installed`);
  return path;
}

/** The command without its arguments. */
export function redisCommand(): readonly string[] {
  return newerServer("redis")?.command ?? [binary("redis-server")];
}

/** The engines that stand in for the installed servers of these kinds, such as "MySQL 9.7.4". */
export function standIns(kinds: readonly ServerKind[]): string[] {
  return kinds.flatMap((kind) => newerServer(kind)?.version ?? []);
}

export function missingBinaries(kinds: readonly ServerKind[]): string[] {
  const names = new Set(kinds.flatMap((kind) => NEEDS[kind].binaries));
  return [...names].filter((name) => findBinary(name) === undefined);
}

export function debianPackages(kinds: readonly ServerKind[]): string[] {
  return [...new Set(kinds.flatMap((kind) => NEEDS[kind].debianPackages))];
}

/** Whether a machine like this one, as this user, could have them. */
export function areInstallable(kinds: readonly ServerKind[]): boolean {
  return !kinds.includes("containers") || (process.getuid?.() === 0 && Bun.which("apt-get") !== null);
}

export function isCi(): boolean {
  const { CI = "" } = process.env;
  return !["", "0", "false"].includes(CI);
}

/** Says why tests that need these servers can't run here, or answers undefined when they can. */
export function whyServersCannotRun(kinds: readonly ServerKind[]): string | undefined {
  for (const kind of kinds) {
    const reason = whyNewerServerCannotRun(kind);
    if (reason !== undefined) return reason;
  }
  const missing = missingBinaries(kinds);
  if (missing.length === 0) return whyJarsAreMissing(kinds);
  const packages = debianPackages(kinds.filter((kind) => missingBinaries([kind]).length > 0)).join(" ");
  return (
    `${missing.join(" and ")} not found. Install them: on Debian or Ubuntu 'apt-get install ${packages}', ` +
    "elsewhere Redis 7, MariaDB 10.11, RabbitMQ 3.10, HAProxy 2.6, or later ones of them, Java 17, Maven, kcat and " +
    "Chromium (for the long tests nginx, Apache and Caddy), with their programs in the PATH."
  );
}

export function jarServersIn(kinds: readonly ServerKind[]): JarServer[] {
  return kinds.filter((kind) => kind === "kafka" || kind === "activemq");
}

function whyJarsAreMissing(kinds: readonly ServerKind[]): string | undefined {
  const missing = jarServersIn(kinds).filter((kind) => !hasJars(kind));
  return missing.length === 0 ? undefined : `the jars of ${missing.join(" and ")} are missing: 'npm test' fetches them`;
}

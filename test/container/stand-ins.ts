/**
 * Images under the names in Dockerfile and docker-compose.yml, made from Debian's packages and this machine's Node,
 * since no image registry is available. They share with the real ones the programs, where these keep their data, and
 * the settings that the compose files use.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { NEWER_SERVERS } from "../harness/debian/newer-servers.ts";
import { cacheFolder, type PackageSet, unpack } from "../harness/debian/packages.ts";
import { run } from "../harness/debian/run.ts";
import type { ContainerEngine } from "./engine.ts";

export interface StandIn {
  /** The name in the project's files, including the registry. */
  readonly name: string;
  readonly packages: PackageSet;
  /** Changes of the image's configuration, as a Dockerfile has them. */
  readonly changes: readonly string[];
  /** Text files that are added, by path. */
  readonly files?: Readonly<Record<string, string>>;
  readonly hasNode?: boolean;
  /** Patterns of the packages' files that it does not need. */
  readonly without?: readonly string[];
}

const PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** A machine whose network ends at a proxy of its own has that one's certificate among these. */
const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";
/** Patterns of the packages' files that no image needs. */
const UNUSED = [
  ...["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/perl*", "usr/lib/*/perl*", "usr/bin/perl*"],
  ...["usr/lib/systemd", "usr/lib/*/systemd", "usr/bin/valkey*", "usr/bin/mysql?*", "usr/bin/myisam*"],
];
const OF_MYSQL = ["usr/sbin/mysqld", "usr/bin/mysql", "usr/lib/mysql", "usr/lib/*/libicu*", "usr/share/mysql"];

const PASSWD = "root:x:0:0:root:/root:/bin/sh\n";

/** Like the real one it sets up an empty volume with a server that takes no connections, and then starts for good. */
const MYSQL_ENTRYPOINT = `#!/bin/sh
set -eu
run() { exec mysqld --no-defaults --user=root --datadir=/var/lib/mysql --mysqlx=OFF --secure-file-priv= "$@"; }
if [ ! -d /var/lib/mysql/mysql ]; then
  printf "%s;\\n" "CREATE DATABASE $MYSQL_DATABASE" "CREATE USER $MYSQL_USER@'%' IDENTIFIED BY '$MYSQL_PASSWORD'" \\
    "GRANT ALL ON $MYSQL_DATABASE.* TO $MYSQL_USER@'%'" > /tmp/init.sql
  (run --initialize-insecure --init-file=/tmp/init.sql)
fi
run --socket=/tmp/mysql.sock "$@"
`;

/** The real one is built without the mode in which Redis takes connections from its own host alone. */
const REDIS_ENTRYPOINT = `#!/bin/sh
exec "$@" --protected-mode no
`;

/** This image already has what the Dockerfile installs. */
const APT_GET = `#!/bin/sh
set -eu
[ "$1" = update ] || [ "$*" = "install --yes --no-install-recommends tini" ]
`;

export const BUILD_IMAGE: StandIn = {
  name: "docker.io/library/node:24.11.1-bookworm-slim",
  packages: {
    name: "image-build",
    suite: "bookworm",
    packages: ["base-files", "dash", "coreutils", "libc6", "libstdc++6", "libgcc-s1", "tini"],
  },
  files: { "usr/bin/apt-get": APT_GET },
  changes: [PATH, `ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}`],
  hasNode: true,
};

export const RUNTIME_IMAGE: StandIn = {
  name: "gcr.io/distroless/base-debian12:nonroot",
  packages: {
    name: "image-runtime",
    suite: "bookworm",
    packages: ["base-files", "libc6", "libssl3", "netbase"],
  },
  changes: [PATH],
};

export const MYSQL_IMAGE: StandIn = {
  name: "docker.io/library/mysql:8.4",
  packages: NEWER_SERVERS,
  changes: [PATH, 'ENTRYPOINT ["/entrypoint"]', "VOLUME /var/lib/mysql"],
  files: { entrypoint: MYSQL_ENTRYPOINT },
};

export const REDIS_IMAGE: StandIn = {
  name: "docker.io/library/redis:7.4",
  packages: NEWER_SERVERS,
  changes: [PATH, 'ENTRYPOINT ["/entrypoint"]', "WORKDIR /data", "VOLUME /data"],
  files: { entrypoint: REDIS_ENTRYPOINT },
  without: OF_MYSQL,
};

export const HAPROXY_IMAGE: StandIn = {
  name: "docker.io/library/haproxy:3.2",
  packages: NEWER_SERVERS,
  changes: [PATH, 'CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]', "STOPSIGNAL SIGUSR1"],
  without: OF_MYSQL,
};

/** Made once, and then found in the storage that is cached. */
export async function provideImage(engine: ContainerEngine, standIn: StandIn): Promise<void> {
  const { name, packages, changes, files = {}, hasNode = false, without = [] } = standIn;
  const label = `hourglass.stand-in=${Bun.hash(JSON.stringify([standIn, PASSWD, process.versions])).toString(36)}`;
  const found = await engine.try("podman", "image", "ls", "--quiet", "--filter", `label=${label}`);
  if (found.output.trim() !== "" && (await engine.hasImage(name))) return;
  // Of links to the unpacked files, which only works on the same disk.
  const folder = mkdtempSync(join(cacheFolder(), "image-"));
  try {
    const root = join(folder, "root");
    await run(["cp", "--archive", "--link", await unpack(packages), root]);
    await run(["sh", "-c", 'cd "$1" && shift && rm -rf $*', "without", root, ...UNUSED, ...without]);
    addFiles(root, { ...files, "etc/passwd": PASSWD });
    if (hasNode) addNode(root);
    const all = [...changes, `LABEL ${label}`].flatMap((change) => ["--change", change]);
    const archive = join(folder, "image.tar");
    await run(["tar", "--create", `--file=${archive}`, "--owner=0", "--group=0", "-C", root, "."]);
    await engine.podman("import", "--quiet", ...all, archive, name);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function addFiles(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text, { mode: 0o755 });
  }
}

/** This machine's own: npm is the folder that its command leads into. */
function addNode(folder: string): void {
  const [node, npm] = [realpathSync(Bun.which("node")!), dirname(dirname(realpathSync(Bun.which("npm")!)))];
  mkdirSync(join(folder, "usr/bin"), { recursive: true });
  cpSync(node, join(folder, "usr/bin/node"));
  cpSync(npm, join(folder, "usr/lib/node_modules/npm"), { recursive: true });
  const command = '#!/bin/sh\nexec node /usr/lib/node_modules/npm/bin/npm-cli.js "$@"\n';
  writeFileSync(join(folder, "usr/bin/npm"), command, { mode: 0o755 });
}

/** This machine's settings for npm's registry, which a build needs as well. */
export function npmSettings(): string[] {
  const userConfig = join(process.env["HOME"] ?? "/root", ".npmrc");
  const mounts = [
    [CERTIFICATES, CERTIFICATES],
    [userConfig, "/root/.npmrc"],
  ] as const;
  return mounts.filter(([path]) => existsSync(path)).map(([path, place]) => `--volume=${path}:${place}:ro`);
}

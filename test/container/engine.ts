/**
 * Builds and runs containers without an image registry: buildah and podman on their own storage, with base images that
 * stand-ins.ts makes from Debian's packages under the names that the project's files use.
 *
 * Invariant: containers, networks and volumes have this run's prefix in their names, and do not outlive its process.
 */
import { closeSync, existsSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cacheFolder } from "../harness/debian/packages.ts";
import { run } from "../harness/debian/run.ts";
import { postGuardian } from "../harness/servers/guardian.ts";
import { waitFor } from "../harness/service/wait-for.ts";

/** Limits stay the machine's, since they cannot be raised everywhere; cgroups are made without systemd. */
const containersConf = (networks: string) => `
[containers]
default_ulimits = []
log_driver = "k8s-file"
[network]
network_backend = "netavark"
network_config_dir = "${networks}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
`;

const storageConf = (driver: string, folder: string) => `
[storage]
driver = "${driver}"
runroot = "${folder}/run"
graphroot = "${folder}/graph"
`;

/** $1: the folder with `settings` and `prefix`. Volumes and networks go once no container uses them. */
const CLEAN_UP = `
  . "$1/settings"
  {
    podman ps --all --quiet --filter "name=$prefix" | xargs --no-run-if-empty podman rm --force --time 0
    podman pod ls --quiet --filter "name=$prefix" | xargs --no-run-if-empty podman pod rm --force
    podman volume ls --quiet --filter "name=$prefix" | xargs --no-run-if-empty podman volume rm --force
    podman network ls --quiet --filter "name=$prefix" | xargs --no-run-if-empty podman network rm --force
    podman image ls --quiet --filter "reference=*$prefix*" | xargs --no-run-if-empty podman image rm --force
  } >/dev/null 2>&1
  rm -rf "$1"`;
const CLEAN_UP_TIMEOUT_MS = 60_000;

/** Without systemd podman has no timers for health checks, and says so at each command. */
const NO_SYSTEMD = /^.*(systemd connection|CNI config).*\n/gm;

export interface Finished {
  readonly exitCode: number;
  readonly output: string;
}

export class ContainerEngine {
  /** Prefixes the names of everything that this process creates. */
  readonly prefix = `hourglass-test-${process.pid}`;
  readonly driver: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #folder: string;
  readonly #guardian: number;

  static async open(): Promise<ContainerEngine> {
    const overlay = new ContainerEngine("overlay");
    if ((await overlay.try("podman", "info")).exitCode === 0) return overlay;
    // An overlay upon an overlay, as in a container: there every layer has to be a copy.
    await overlay.close();
    return new ContainerEngine("vfs");
  }

  private constructor(driver: string) {
    this.driver = driver;
    this.#folder = mkdtempSync(join(tmpdir(), "hourglass-containers-"));
    const storage = join(cacheFolder(), `containers-${driver}`);
    const networks = join(storage, "networks");
    mkdirSync(networks, { recursive: true });
    this.#env = {
      CONTAINERS_CONF: this.#file("containers.conf", containersConf(networks)),
      CONTAINERS_STORAGE_CONF: this.#file("storage.conf", storageConf(driver, storage)),
      CONTAINERS_REGISTRIES_CONF: this.#file("registries.conf", 'unqualified-search-registries = ["docker.io"]\n'),
      STORAGE_DRIVER: driver,
    };
    const settings = Object.entries({ ...this.#env, prefix: this.prefix });
    this.#file("settings", settings.map(([name, value]) => `export ${name}='${value}'\n`).join(""));
    this.#guardian = postGuardian(this.#folder, CLEAN_UP);
  }

  #file(name: string, text: string): string {
    const path = join(this.#folder, name);
    writeFileSync(path, text);
    return path;
  }

  /** Answers its standard output; throws if it fails. */
  async podman(...args: readonly string[]): Promise<string> {
    return (await this.run(["podman", ...args])).trim();
  }

  async run(command: readonly string[], cwd?: string): Promise<string> {
    return await run(command, { env: this.#env, ...(cwd !== undefined && { cwd }) });
  }

  /** Runs a command that may fail. */
  async try(...command: readonly string[]): Promise<Finished> {
    const child = Bun.spawn([...command], {
      env: { ...process.env, ...this.#env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { exitCode, output: (stdout + stderr).replaceAll(NO_SYSTEMD, "") };
  }

  async logs(container: string): Promise<string> {
    return (await this.try("podman", "logs", container)).output;
  }

  /** Runs the container's own health check, since nothing else does here. */
  async isHealthy(container: string): Promise<boolean> {
    return (await this.try("podman", "healthcheck", "run", container)).exitCode === 0;
  }

  async hasImage(name: string): Promise<boolean> {
    return (await this.try("podman", "image", "exists", name)).exitCode === 0;
  }

  async close(): Promise<void> {
    closeSync(this.#guardian);
    await waitFor("the containers to be deleted", () => !existsSync(this.#folder), {
      timeoutMs: CLEAN_UP_TIMEOUT_MS,
    });
  }
}

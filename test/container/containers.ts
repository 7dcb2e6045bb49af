/** Hourglass in containers, built once from the Dockerfile and run as strictly as an operator can. */
import { afterAll, beforeAll, describe } from "bun:test";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { waitFor } from "../harness/service/wait-for.ts";
import { ContainerEngine } from "./engine.ts";
import { BUILD_IMAGE, npmSettings, provideImage, RUNTIME_IMAGE, type StandIn } from "./stand-ins.ts";

const SETUP_TIMEOUT_MS = 600_000;
const READY_TIMEOUT_MS = 30_000;
/** The restrictions of docker-compose.yml. */
const STRICT = [
  ...["--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp", "--cap-drop=all"],
  ...["--security-opt=no-new-privileges", "--ulimit=host"],
];

/** The engine and the image, ready in beforeAll(). */
export class Containers {
  engine!: ContainerEngine;
  #count = 0;

  get image(): string {
    return `localhost/${this.engine.prefix}`;
  }

  async start(standIns: readonly StandIn[]): Promise<void> {
    this.engine = await ContainerEngine.open();
    for (const standIn of [BUILD_IMAGE, RUNTIME_IMAGE, ...standIns]) await provideImage(this.engine, standIn);
    // In one layer a stage: each of them is written to the disk.
    const options = ["--isolation=chroot", "--pull-never", "--format=docker", "--layers=false"];
    const build = ["buildah", "build", ...options, ...npmSettings(), `--tag=${this.image}`, PROJECT_ROOT];
    await this.engine.run(build);
    const bytes = await this.engine.podman("image", "inspect", "--format={{.Size}}", this.image);
    console.log(`the image has ${Math.round(Number(bytes) / 1_000_000)} MB (storage: ${this.engine.driver})`);
  }

  newName(): string {
    this.#count += 1;
    return `${this.engine.prefix}-${this.#count}`;
  }

  async run(port: number, volume: string, { options = [], image = this.image }: RunOptions = {}): Promise<Container> {
    const name = this.newName();
    const settings = [`--env=PORT=${port}`, "--env=HOST=127.0.0.1", `--volume=${volume}:/data`, "--network=host"];
    await this.engine.podman("run", "--detach", `--name=${name}`, ...STRICT, ...settings, ...options, image);
    return new Container(this.engine, name, port);
  }
}

export interface RunOptions {
  readonly options?: readonly string[];
  readonly image?: string;
}

export class Container {
  readonly name: string;
  readonly url: string;
  readonly #engine: ContainerEngine;

  constructor(engine: ContainerEngine, name: string, port: number) {
    this.#engine = engine;
    this.name = name;
    this.url = `http://127.0.0.1:${port}`;
  }

  async inspect(format: string): Promise<string> {
    return await this.#engine.podman("inspect", `--format=${format}`, this.name);
  }

  async start(): Promise<void> {
    await this.#engine.podman("start", this.name);
  }

  async waitUntilReady(): Promise<void> {
    const isReady = async () => (await fetch(`${this.url}/readyz`)).status === 200;
    await waitFor(`${this.name} to be ready`, isReady, { timeoutMs: READY_TIMEOUT_MS }).catch(async (error) => {
      throw new Error(`${error.message}\n${await this.#engine.logs(this.name)}`);
    });
  }

  isHealthy(): Promise<boolean> {
    return this.#engine.isHealthy(this.name);
  }

  /** SIGTERM, as a stop sends it, and SIGKILL after `graceS`. Answers the exit code: 137 if it was killed. */
  async stop(graceS = 25): Promise<number> {
    await this.#engine.podman("stop", `--time=${graceS}`, this.name);
    return Number(await this.inspect("{{.State.ExitCode}}"));
  }

  async remove(): Promise<void> {
    await this.#engine.podman("rm", "--force", "--time=0", this.name);
  }
}

/** `standIns`: beside those for the Dockerfile. */
export function describeContainers(
  name: string,
  standIns: readonly StandIn[],
  body: (containers: Containers) => void,
): void {
  describeWithServers(name, ["containers"], () => {
    const containers = new Containers();
    beforeAll(() => containers.start(standIns), SETUP_TIMEOUT_MS);
    afterAll(() => containers.engine?.close(), SETUP_TIMEOUT_MS);
    describe("built from the Dockerfile", () => body(containers));
  });
}

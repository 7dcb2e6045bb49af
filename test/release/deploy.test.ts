/** deploy/ and the release workflow: each file is valid by its own schema, and fits the others and the service. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NoOperationTraceWriter, parseWorkflow } from "@actions/workflow-parser";
import { readConfig, settingNamed } from "../../src/settings/read-config.ts";
import { lintCompose } from "../harness/project/compose-lint.ts";
import { faultsOf, type Manifest } from "../harness/project/kubernetes.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";

const DEPLOY = join(PROJECT_ROOT, "deploy");
const folder = mkdtempSync(join(tmpdir(), "hourglass-deploy-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ADDRESSES = {
  REDIS_URL: "redis://redis:6379",
  MYSQL_URL: "mysql://user:password@mysql:3306/hourglass",
};
const USER_SALT = "a salt of 16 or more characters";

async function textOf(path: string): Promise<string> {
  return await Bun.file(join(PROJECT_ROOT, path)).text();
}

/** Runs a program that not every machine has. */
async function outputOf(command: readonly string[]): Promise<{ exitCode: number; output: string }> {
  const child = Bun.spawn([...command], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { exitCode, output: stdout + stderr };
}

/** Every one is a setting that there is, and has a value that it takes. */
function expectSettings(settings: Readonly<Record<string, unknown>>): void {
  const texts = Object.entries(settings).map(([name, value]) => [name, String(value)] as const);
  for (const [name] of texts) expect(settingNamed(name)).toBeDefined();
  expect(() => readConfig(Object.fromEntries(texts))).not.toThrow();
}

interface ComposeFile {
  readonly services: Readonly<
    Record<
      string,
      {
        readonly environment?: Record<string, unknown>;
        readonly ports?: readonly string[];
        readonly stop_grace_period?: string;
      }
    >
  >;
}

describe("deploy/compose.cluster.yml", async () => {
  const { services } = Bun.YAML.parse(await textOf("deploy/compose.cluster.yml")) as ComposeFile;
  const instances = Object.keys(services).filter((name) => name.startsWith("hourglass-"));

  test("has nothing that the linter objects to", () => {
    expect(lintCompose(join(DEPLOY, "compose.cluster.yml"))).toEqual([]);
  });

  test("starts three instances, all set up alike, and opens the balancer's port alone", () => {
    expect(instances).toHaveLength(3);
    for (const name of instances) {
      const settings = services[name]!.environment!;
      expectSettings({ ...settings, USER_SALT, LOG_LEVEL: "info" });
      expect(services[name]).toEqual(services[instances[0]!]!);
    }
    const open = Object.entries(services).filter(([, { ports }]) => ports !== undefined);
    expect(open.map(([name]) => name)).toEqual(["balancer"]);
  });

  test("gives them more time for their end than they take", () => {
    for (const name of instances) {
      const { environment, stop_grace_period: grace = "" } = services[name]!;
      const drainS = Number(environment!["DRAIN_MS"]) / 1_000;
      expect(Number(grace.replace(/s$/, ""))).toBeGreaterThanOrEqual(drainS + 25 + 5);
    }
  });

  test("has a balancer that knows them all", async () => {
    const config = await textOf("deploy/haproxy/haproxy.cfg");
    const known = Array.from(config.matchAll(/^ {4}server (\S+) (\S+):7777$/gm), ([, name, host]) => [name, host]);
    expect(known).toEqual(instances.map((name) => [name, name]));
  });

  test.skipIf(Bun.which("haproxy") === null)("has a configuration that the balancer takes", async () => {
    const { exitCode, output } = await outputOf(["haproxy", "-c", "-f", join(DEPLOY, "haproxy/haproxy.cfg")]);
    expect([exitCode, output]).toEqual([0, expect.any(String)]);
  });
});

describe("deploy/systemd/hourglass.service", async () => {
  const unit = await textOf("deploy/systemd/hourglass.service");

  test("waits longer for the end than the service takes, and gives it a folder of its own", () => {
    const value = (name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(unit)?.[1];
    expect(Number(value("TimeoutStopSec"))).toBeGreaterThan(25);
    expect(value("Environment")).toContain(`DATA_DIR=/var/lib/${value("StateDirectory")}`);
    // A service whose settings are wrong ends with 2.
    expect(value("RestartPreventExitStatus")).toBe("2");
  });

  test.skipIf(Bun.which("systemd-analyze") === null)("is what systemd takes, and shuts the rest out", async () => {
    const path = join(folder, "hourglass.service");
    const verified = async (text: string) => {
      writeFileSync(path, text.replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`));
      const { exitCode, output } = await outputOf(["systemd-analyze", "verify", "--man=no", path]);
      return {
        exitCode,
        complaints: output.split("\n").filter((line) => line.includes("hourglass.service")),
      };
    };
    expect((await verified(unit.replace("ProtectHome=yes", "ProtectHouse=yes"))).complaints).toHaveLength(1);
    expect(await verified(unit)).toEqual({ exitCode: 0, complaints: [] });
    // In tenths, of ten: how much it could do if it were taken over.
    const offline = ["--offline=true", "--threshold=20", "--no-pager"];
    const { exitCode, output } = await outputOf(["systemd-analyze", "security", ...offline, path]);
    expect([exitCode, output.split("\n").findLast((line) => line.includes("exposure"))]).toEqual([
      0,
      expect.stringContaining("OK"),
    ]);
  });
});

interface Container {
  readonly env: readonly { readonly name: string }[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
  readonly securityContext: object;
}

interface DeploymentFile extends Manifest {
  readonly spec: {
    readonly selector: { readonly matchLabels: object };
    readonly template: {
      readonly metadata: { readonly labels: object };
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly securityContext: object;
        readonly containers: readonly [Container];
      };
    };
  };
}

describe("deploy/kubernetes", async () => {
  const { resources } = (await yamlOf("kustomization.yaml")) as { resources: readonly string[] };
  const manifests = await Promise.all(resources.map(async (name) => (await yamlOf(name)) as Manifest));
  const byKind = new Map(manifests.map((manifest) => [manifest.kind, manifest]));
  const deployment = byKind.get("Deployment") as DeploymentFile;
  const { template, selector } = deployment.spec;
  const [container] = template.spec.containers;

  async function yamlOf(name: string): Promise<unknown> {
    return Bun.YAML.parse(await textOf(`deploy/kubernetes/${name}`));
  }

  test("is all that lies there, and what Kubernetes takes", () => {
    const files = readdirSync(join(DEPLOY, "kubernetes")).filter((name) => name !== "kustomization.yaml");
    expect(files.sort()).toEqual([...resources].sort());
    expect(manifests.map((manifest) => [manifest.kind, faultsOf(manifest)])).toEqual(
      manifests.map(({ kind }) => [kind, []]),
    );
  });

  test("would be found out if it were not", () => {
    const broken = (change: object): Manifest => ({ ...deployment, spec: { ...deployment.spec, ...change } });
    expect(faultsOf(broken({ replica: 3 }))).toEqual(["/spec/replica"]);
    expect(faultsOf(broken({ paused: "no" }))).toEqual([expect.stringContaining("paused must be boolean")]);
    expect(faultsOf(broken({ selector: undefined }))).toEqual([expect.stringContaining("selector")]);
    expect(faultsOf({ apiVersion: "apps/v0", kind: "Deployment" })).toHaveLength(1);
  });

  test("selects what it makes, everywhere", () => {
    const labels = template.metadata.labels;
    expect(selector.matchLabels).toEqual(labels);
    expect(byKind.get("Service")).toMatchObject({ spec: { selector: labels } });
    expect(byKind.get("PodDisruptionBudget")).toMatchObject({ spec: { selector: { matchLabels: labels } } });
    const scaleTargetRef = { kind: "Deployment", name: "hourglass" };
    expect(byKind.get("HorizontalPodAutoscaler")).toMatchObject({ spec: { scaleTargetRef } });
  });

  test("sets what can be set, and asks paths that there are", async () => {
    const { data } = byKind.get("ConfigMap") as unknown as { data: Record<string, string> };
    const secrets = container.env.map(({ name }) => name);
    expect(secrets).toEqual(["REDIS_URL", "MYSQL_URL", "USER_SALT"]);
    expectSettings({ ...data, ...ADDRESSES, USER_SALT });
    expect(container.ports).toEqual([{ name: "http", containerPort: readConfig({}).port }]);
    const routes = await textOf("src/http/ops/probes.ts");
    for (const probe of ["livenessProbe", "startupProbe", "readinessProbe"]) {
      const { httpGet } = (container as unknown as Record<string, { httpGet: { path: string } }>)[probe]!;
      expect(routes).toContain(`.get("${httpGet.path}"`);
    }
  });

  test("gives it time to drain, and no rights", () => {
    const { terminationGracePeriodSeconds, securityContext } = template.spec;
    const forDraining = terminationGracePeriodSeconds - container.lifecycle.preStop.sleep.seconds;
    expect(forDraining).toBeGreaterThanOrEqual(30);
    expect(securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 65_532 });
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
  });
});

interface Workflow {
  readonly jobs: Readonly<
    Record<
      string,
      {
        readonly needs?: string | readonly string[];
        readonly strategy?: { readonly matrix: { readonly target?: readonly string[] } };
        readonly steps: readonly { readonly uses?: string; readonly with?: Record<string, unknown> }[];
      }
    >
  >;
}

describe(".github/workflows", async () => {
  const names = readdirSync(join(PROJECT_ROOT, ".github/workflows"));
  const texts = await Promise.all(names.map((name) => textOf(`.github/workflows/${name}`)));
  const release = texts[names.indexOf("release.yml")]!;

  function faultsOfWorkflow(content: string): string[] {
    const { context } = parseWorkflow({ name: "workflow.yml", content }, new NoOperationTraceWriter());
    return context.errors.getErrors().map(({ message }) => message);
  }

  test("are what GitHub takes", () => {
    expect(names.toSorted()).toEqual(["release.yml", "test.yml"]);
    for (const text of texts) expect(faultsOfWorkflow(text)).toEqual([]);
    const broken = release.replace("runs-on:", "run-on:");
    expect(faultsOfWorkflow(broken)).not.toEqual([]);
    expect(faultsOfWorkflow(release.replace("matrix.target", "matrx.target"))).not.toEqual([]);
  });

  test("name each action by its commit, and build each kind of program that can be built", () => {
    const workflows = texts.map((text) => Bun.YAML.parse(text) as Workflow);
    const steps = workflows.flatMap(({ jobs }) => Object.values(jobs).flatMap((job) => job.steps));
    for (const { uses } of steps) if (uses !== undefined) expect(uses).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40}$/);
    const built = steps.find(({ uses }) => uses?.startsWith("docker/build-push-action@"))!;
    expect(built.with).toMatchObject({ provenance: "mode=max", sbom: true });
    const targets = workflows[names.indexOf("release.yml")]!.jobs["binaries"]!.strategy!.matrix.target!;
    expect(targets).toContain("linux-x64");
    for (const target of targets) expect(target).toMatch(/^(linux|darwin)-(x64|arm64)(-baseline)?(-musl)?$/);
  });
});

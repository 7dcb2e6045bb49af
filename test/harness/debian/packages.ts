/**
 * Unpacks Debian packages with their dependencies into a folder of their own, without installing anything: the
 * machine's apt resolves and fetches them from its configured mirror, as any user.
 *
 * Invariant: a folder under the cache is complete, since it is filled elsewhere and then renamed.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { run } from "./run.ts";

export interface PackageSet {
  /** Names the folder. */
  readonly name: string;
  /** Debian's name of a release. */
  readonly suite: string;
  readonly packages: readonly string[];
}

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const TOOLS = ["apt-get", "dpkg-deb", "tar"];

export function cacheFolder(): string {
  return join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "hourglass-test");
}

/** The folder that holds these packages, whether or not it was filled yet. */
export function folderOf({ name, suite, packages }: PackageSet): string {
  const key = Bun.hash(JSON.stringify([suite, ...packages])).toString(36);
  return join(cacheFolder(), `${name}-${key}`);
}

/** Says why packages cannot be unpacked on a machine like this one, or answers undefined when they can. */
export function whyNotUnpackable(): string | undefined {
  const missing = TOOLS.filter((tool) => Bun.which(tool) === null);
  if (missing.length > 0) return `${missing.join(" and ")} not found: this is not a Debian`;
  const isDebian = existsSync("/etc/os-release") && /^ID=debian$/m.test(readFileSync("/etc/os-release", "utf8"));
  if (!isDebian || !existsSync(KEYRING)) return "this is not a Debian with its archive's keys";
  return undefined;
}

export async function unpack(set: PackageSet, signal?: AbortSignal): Promise<string> {
  const folder = folderOf(set);
  if (existsSync(folder)) return folder;
  mkdirSync(cacheFolder(), { recursive: true });
  const aside = mkdtempSync(`${folder}-unpacking-`);
  try {
    await unpackInto(aside, set, signal);
    renameSync(join(aside, "root"), folder);
  } catch (error) {
    // Another process was faster.
    if (!existsSync(folder)) throw error;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  return folder;
}

async function unpackInto(aside: string, { suite, packages }: PackageSet, signal?: AbortSignal): Promise<void> {
  const apt = await privateApt(aside, suite);
  await run([...apt, "update"], { signal });
  await run([...apt, "--yes", "--no-install-recommends", "--download-only", "install", ...packages], {
    signal,
  });
  const root = join(aside, "root");
  mkdirSync(root);
  // base-files first: it brings the links /bin, /lib and /lib64 that all others are unpacked through.
  const script = `set -eu
    for deb in "$1"/base-files_*.deb "$1"/*.deb; do
      dpkg-deb --fsys-tarfile "$deb" | tar --extract --no-same-owner --keep-directory-symlink --directory "$2"
    done`;
  await run(["sh", "-c", script, "unpack", join(aside, "cache", "archives"), root], { signal });
}

/** An apt that knows of no installed package, and keeps all that it writes under `aside`. */
async function privateApt(aside: string, suite: string): Promise<string[]> {
  for (const folder of ["state/lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(aside, folder), { recursive: true });
  }
  const [sources, status] = [join(aside, "sources.list"), join(aside, "status")];
  writeFileSync(sources, `deb [signed-by=${KEYRING}] ${await mirror()} ${suite} main\n`);
  writeFileSync(status, "");
  const settings = {
    "Dir::Etc::sourcelist": sources,
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::Etc::preferencesparts": "/dev/null",
    "Dir::State": join(aside, "state"),
    "Dir::State::status": status,
    "Dir::Cache": join(aside, "cache"),
    "Debug::NoLocking": "1",
    "APT::Sandbox::User": "root",
    "APT::Update::Post-Invoke-Success::": "",
    "APT::Install-Recommends": "false",
  };
  return ["apt-get", "-qq", ...Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`])];
}

/** Where this machine's apt takes Debian from. */
export async function mirror(): Promise<string> {
  const listed = await run(["apt-get", "--print-uris", "update"]);
  const releases = listed.matchAll(/^'([^']+)\/dists\/([^/']+)\/(?:In)?Release'/gm);
  for (const [, uri, suite] of releases) if (/^[a-z]+$/.test(suite!)) return uri!;
  throw new Error(`no mirror of a Debian release is configured in this machine's apt:\n${listed}`);
}

/**
 * A small in-memory file system, which can be filled up and freed again.
 *
 * Invariant: it does not outlive the process that made it, however that ends.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errorText } from "../../../src/runtime/error-text.ts";
import { waitFor } from "../service/wait-for.ts";
import { postGuardian } from "./guardian.ts";

// $1: the folder.
const CLEAN_UP = 'umount -l "$1/disk"; rm -rf "$1"';
const BALLAST_PIECE = new Uint8Array(65_536);
const SMALLEST_PIECE = 512;

export class Tmpfs {
  readonly path: string;
  readonly #folder: string;
  readonly #guardian: number;

  /** Undefined, with the reason, where that is not possible. */
  static mount(sizeMb: number): Tmpfs | string {
    if (process.getuid?.() !== 0) return "to mount a small disk takes root";
    const folder = mkdtempSync(join(tmpdir(), "hourglass-disk-"));
    const path = join(folder, "disk");
    mkdirSync(path);
    try {
      run(["mount", "-t", "tmpfs", "-o", `size=${sizeMb}m,mode=0700`, "tmpfs", path], folder);
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      return `no tmpfs can be mounted here: ${errorText(error)}`;
    }
    return new Tmpfs(folder, path);
  }

  private constructor(folder: string, path: string) {
    this.#folder = folder;
    this.path = path;
    this.#guardian = postGuardian(folder, CLEAN_UP);
  }

  get #ballast(): string {
    return join(this.path, "ballast");
  }

  /** Fills it to the last byte. */
  fill(): void {
    const file = openSync(this.#ballast, "a");
    try {
      for (let size = BALLAST_PIECE.length; size >= SMALLEST_PIECE; ) {
        try {
          writeSync(file, BALLAST_PIECE, 0, size);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
          size /= 2;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    rmSync(this.#ballast, { force: true });
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  async close(): Promise<void> {
    closeSync(this.#guardian);
    await waitFor(`${this.#folder} to be unmounted and deleted`, () => !existsSync(this.#folder));
  }
}

/** The error tells what the command said. */
function run(command: string[], folder: string): void {
  const messages = join(folder, "messages");
  const { exitCode } = Bun.spawnSync(command, {
    stdin: "ignore",
    stdout: "ignore",
    stderr: Bun.file(messages),
    detached: true,
  });
  if (exitCode === 0) return;
  throw new Error(`'${command.join(" ")}' failed (${exitCode}): ${readFileSync(messages, "utf8").trim()}`);
}

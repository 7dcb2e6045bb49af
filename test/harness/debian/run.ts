/** Runs a command to its end: returns its standard output, or throws with all its output. */
export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

const DEFAULT_TIMEOUT_MS = 300_000;
const ERROR_TAIL_CHARS = 4_000;

export async function run(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const { signal, timeoutMs = DEFAULT_TIMEOUT_MS, env, cwd } = options;
  const child = Bun.spawn([...command], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: timeoutMs,
    killSignal: "SIGKILL",
    env: { ...process.env, ...env },
    ...(cwd !== undefined && { cwd }),
    ...(signal !== undefined && { signal }),
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code === 0) return stdout;
  const said = `${stdout}${stderr}`.slice(-ERROR_TAIL_CHARS);
  throw new Error(`'${command.join(" ")}' failed (${child.signalCode ?? code}):\n${said}`);
}

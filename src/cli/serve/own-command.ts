/** The command that starts this program, from source or as a binary. */
export function ownCommand(): string[] {
  const isBinary = Bun.main.startsWith("/$bunfs/");
  return isBinary ? [process.execPath, "serve"] : [process.execPath, Bun.main, "serve"];
}

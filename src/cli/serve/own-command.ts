/** This program, however it was started: from source by the runtime, or as a binary, which is the runtime. */
export function ownCommand(): string[] {
  const isBinary = Bun.main.startsWith("/$bunfs/");
  return isBinary ? [process.execPath, "serve"] : [process.execPath, Bun.main, "serve"];
}

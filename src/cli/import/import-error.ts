/** Why it can't be imported, for who runs it. */
export class ImportError extends Error {
  override readonly name = "ImportError";
}

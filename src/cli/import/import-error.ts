/** Why an import failed, for its user. */
export class ImportError extends Error {
  override readonly name = "ImportError";
}

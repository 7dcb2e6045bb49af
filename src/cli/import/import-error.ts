/** Why an import failed, addressed to its user. */
export class ImportError extends Error {
  override readonly name = "ImportError";
}

/** How the cold store fails. */

/** The cold store did not answer, or failed. The outcome of a flush is then unknown. */
export class ColdUnavailableError extends Error {
  override readonly name = "ColdUnavailableError";
}

/**
 * The cause of a ColdUnavailableError: the replica that was read from failed after some rows had been shown. The same
 * read may be started again from the first row.
 */
export class ReadInterruptedError extends Error {
  override readonly name = "ReadInterruptedError";
}

/** The writer was sealed by the adopter of its journal: it stores no batches that were not in there. */
export class WriterSealedError extends Error {
  override readonly name = "WriterSealedError";
}

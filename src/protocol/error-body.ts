/** Why an input was refused, for HTTP answers and the log. */
export interface ErrorBody {
  readonly code: string;
  readonly message: string;
  readonly field?: string;
  readonly got?: string | null;
  readonly expected?: string;
}

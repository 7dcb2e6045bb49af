/** Why an input was refused, for HTTP answers and the log. */
export interface ErrorBody {
  readonly code: string;
  readonly message: string;
  readonly field?: string;
  readonly got?: string | null;
  readonly expected?: string;
}

/** Nothing of the body was counted. */
export class RefusedBodyError extends Error {
  override readonly name = "RefusedBodyError";
  readonly status: number;
  readonly body: ErrorBody;
  readonly headers: Record<string, string>;
  constructor(status: number, body: ErrorBody, headers: Record<string, string> = {}) {
    super(body.message);
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

/** A body that is refused as a whole: nothing of it was counted. */
import type { ErrorBody } from "../error-body.ts";

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

/** The part of a pino logger that the service uses: passed in, so that tests can listen. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

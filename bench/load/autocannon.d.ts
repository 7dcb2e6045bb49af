/** Of autocannon, which brings no types: what is used here. */
declare module "autocannon" {
  namespace autocannon {
    interface Request {
      readonly method: "GET" | "POST";
      readonly path: string;
      readonly headers?: Readonly<Record<string, string>>;
    }

    interface Client {
      setRequests(requests: Request[]): void;
    }

    interface Options {
      readonly url: string;
      readonly connections: number;
      readonly pipelining: number;
      /** In seconds. */
      readonly duration: number;
      /** In milliseconds. */
      readonly sampleInt: number;
      setupClient(client: Client): void;
    }

    interface Result {
      readonly "2xx": number;
      readonly non2xx: number;
      readonly errors: number;
    }
  }

  function autocannon(options: autocannon.Options): Promise<autocannon.Result>;
  export default autocannon;
}

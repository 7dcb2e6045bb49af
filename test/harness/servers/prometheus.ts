/** Parses the answer of /metrics: Prometheus' text format, version 0.0.4. */
import { ask } from "../service/http-connection.ts";

/** By "name" or 'name{label="value",…}', as in the text format. */
export type Samples = ReadonlyMap<string, number>;

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^}]*\})?) (\S+)$/;

/** Throws if a line is neither a comment nor a sample. */
export async function scrape(port: number, head: readonly string[] = []): Promise<Samples> {
  const { status, headers, body } = await ask(port, { method: "GET", target: "/metrics", headers: head });
  const type = headers.get("content-type") ?? "";
  if (status !== 200 || !type.startsWith("text/plain; version=0.0.4")) {
    throw new Error(`/metrics was answered with ${status} ${type}`);
  }
  const lines = body.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const [, name, value] = SAMPLE.exec(line) ?? [];
      if (name === undefined) throw new Error(`not a sample: ${line}`);
      return [name, Number(value)] as const;
    }),
  );
}

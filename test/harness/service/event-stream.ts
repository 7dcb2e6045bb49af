interface Reader {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

/** A connection that receives server-sent events. */
export class EventStream {
  readonly #reader: Reader;
  readonly #decoder = new TextDecoder();
  #rest = "";
  count = 0;

  private constructor(body: ReadableStream<Uint8Array>) {
    this.#reader = body.getReader();
  }

  /** Throws if the answer is not 200. */
  static async open(url: string, headers: Readonly<Record<string, string>> = {}): Promise<EventStream> {
    const answer = await fetch(url, { headers });
    if (answer.status !== 200) throw new Error(`${url} was answered with ${answer.status}`);
    return new EventStream(answer.body!);
  }

  /** The data of the next event; undefined at the end. */
  async next<T>(): Promise<T | undefined> {
    for (;;) {
      const end = this.#rest.indexOf("\n\n");
      if (end !== -1) {
        const event = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 2);
        if (!event.startsWith("data: ")) continue;
        this.count += 1;
        return JSON.parse(event.slice(6)) as T;
      }
      const { done, value } = await this.#reader.read();
      if (done) return undefined;
      this.#rest += this.#decoder.decode(value, { stream: true });
    }
  }

  /** Reads and discards all events until the end; returns their number. */
  async drain(): Promise<number> {
    while ((await this.next()) !== undefined);
    return this.count;
  }

  close(): Promise<void> {
    return this.#reader.cancel();
  }
}

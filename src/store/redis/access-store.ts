/** What instances share about access, in Redis. It has its own connection, so that it never delays a commit. */
import { randomBytes } from "node:crypto";
import type { ApiKey } from "../../domain/api-key.ts";
import { DAY_MS } from "../../domain/event.ts";
import type { AccessStore, Spending } from "../access-store.ts";
import { packApiKeys, unpackApiKeys } from "../sql/api-keys.ts";
import { keysOf } from "./keys.ts";
import {
  flag,
  integer,
  list,
  type OwnData,
  RedisLink,
  type RedisLinkOptions,
  script,
  text,
  unexpected,
} from "./link.ts";
import keepKeysSource from "./scripts/access/keep-keys.lua" with { type: "text" };
import keptKeysSource from "./scripts/access/kept-keys.lua" with { type: "text" };
import spendSource from "./scripts/access/spend.lua" with { type: "text" };

const SCRIPTS = {
  spend: script("spend", spendSource),
  keepKeys: script("keep-keys", keepKeysSource),
  keptKeys: script("kept-keys", keptKeysSource),
};
const KEYS = keysOf(0);
const SALT_BYTES = 16;
const US_PER_MS = 1_000;

interface AccessStoreOptions extends Pick<RedisLinkOptions, "url" | "ca" | "commandTimeoutMs"> {
  /** Of the database that Redis must belong to, if it holds any data. Throws ColdUnavailableError. */
  readonly identity: () => Promise<string>;
}

/** Connects in the background. */
export class RedisAccessStore implements AccessStore {
  readonly #link: RedisLink;
  readonly #identity: () => Promise<string>;
  readonly #ownData: OwnData = { key: KEYS.dataSet, identity: "" };
  #firstConnection: Promise<void> | undefined;

  constructor(options: AccessStoreOptions) {
    this.#identity = options.identity;
    const place = { slotKey: KEYS.limitSalt, ownData: this.#ownData };
    this.#link = new RedisLink({ ...options, ...place, onConnect: async () => {}, onDrop: () => {} });
  }

  async spend(spendings: readonly Spending[]): Promise<readonly number[]> {
    await this.#connected();
    // Limits are shared while the cold store is unavailable, too.
    await this.#learnIdentity().catch(() => {});
    const args = [KEYS.limit, randomBytes(SALT_BYTES).toString("hex"), String(DAY_MS)];
    for (const { name, ms } of spendings) args.push(name, String(Math.round(ms * US_PER_MS)));
    return await this.#link.run(SCRIPTS.spend, [KEYS.limitSalt], args, (answer) => {
      const paid = list(answer).map((us) => integer(us) / US_PER_MS);
      if (paid.length !== spendings.length) throw unexpected(answer, `${spendings.length} numbers`);
      return paid;
    });
  }

  async keepKeys(keys: readonly ApiKey[]): Promise<void> {
    await this.#connected();
    await this.#learnIdentity();
    await this.#link.run(SCRIPTS.keepKeys, [KEYS.apiKeys], [packApiKeys(keys)], flag);
  }

  async keptKeys(): Promise<readonly ApiKey[] | undefined> {
    await this.#connected();
    return await this.#link.run(SCRIPTS.keptKeys, [KEYS.apiKeys], [], (answer) =>
      answer === null ? undefined : unpackApiKeys(text(answer)),
    );
  }

  /** Throws ColdUnavailableError. */
  async #learnIdentity(): Promise<void> {
    this.#ownData.identity ||= await this.#identity();
  }

  /** The first caller makes one attempt; after that, connecting continues in the background. */
  async #connected(): Promise<void> {
    this.#firstConnection ??= this.#link.connect().catch(() => this.#link.connectInBackground());
    await this.#firstConnection;
  }

  async close(): Promise<void> {
    await this.#link.close();
  }
}

/** MariaDB behind a thread keeps the contract of cold stores. */
import type { ColdStore } from "../../../../src/store/cold.ts";
import { mysqlColdStore } from "../../../../src/store/mysql/cold-store.ts";
import { coldStoreInThread } from "../../../../src/store/thread/proxy.ts";
import { coldStoreContract } from "../contract/contract.ts";
import { describeColdMysql } from "./mysql-setup.ts";

describeColdMysql((mysql) => {
  coldStoreContract("MariaDB, in a thread", async () => {
    const harness = await mysql.open();
    const stores: ColdStore[] = [];
    return {
      ...harness,
      store() {
        const store = coldStoreInThread(
          { dataDir: "", mysqlUrl: harness.url },
          mysqlColdStore({ url: harness.url, now: Date.now }),
        );
        stores.push(store);
        return store;
      },
      async end() {
        await Promise.all(stores.map((store) => store.close()));
        await harness.end();
      },
    };
  });
});

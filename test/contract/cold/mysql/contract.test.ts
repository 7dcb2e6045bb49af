/** MariaDB keeps the contract of cold stores. */
import { setDefaultTimeout } from "bun:test";
import { coldStoreContract } from "../contract/contract.ts";
import { flushedIdsContract } from "../contract/flushed-ids.ts";
import { describeColdMysql } from "./mysql-setup.ts";

setDefaultTimeout(60_000);

describeColdMysql((mysql) => {
  coldStoreContract("MariaDB", () => mysql.open());
  flushedIdsContract("MariaDB", () => mysql.open());
});

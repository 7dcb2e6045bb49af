/** MariaDB keeps the contract of cold stores. */
import { coldStoreContract } from "../contract/contract.ts";
import { flushedIdsContract } from "../contract/flushed-ids.ts";
import { describeColdMysql } from "./mysql-setup.ts";

describeColdMysql((mysql) => {
  coldStoreContract("MariaDB", () => mysql.open());
  flushedIdsContract("MariaDB", () => mysql.open());
});

/** MariaDB keeps the contract of cold stores. */
import { coldStoreContract } from "../contract/contract.ts";
import { lossesContract } from "../contract/losses.ts";
import { describeColdMysql } from "./mysql-setup.ts";

describeColdMysql((mysql) => {
  coldStoreContract("MariaDB", () => mysql.open());
  lossesContract("MariaDB", () => mysql.open());
});

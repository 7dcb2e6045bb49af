/** The second approach: hourly aggregates in MySQL. A read is one row, however many events there are. */
import { MysqlAggregates } from "./mysql-aggregates.ts";
import { serveApproach } from "./serve.ts";

const aggregates = new MysqlAggregates();
await aggregates.open();
serveApproach(aggregates);

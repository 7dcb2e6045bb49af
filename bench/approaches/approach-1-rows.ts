/**
 * The first approach: a row in MySQL per request, and `count(*)` per read. A row is stored when the request is
 * answered; a read takes longer with every row of its hour.
 */
import { MysqlConnections } from "./mysql-pool.ts";
import { serveApproach } from "./serve.ts";

const TABLE = `
  CREATE TABLE IF NOT EXISTS approach_1 (
    number BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    hour BIGINT UNSIGNED NOT NULL,
    at BIGINT UNSIGNED NOT NULL,
    is_click TINYINT UNSIGNED NOT NULL,
    user VARBINARY(255) NOT NULL,
    KEY by_hour (hour)
  ) ENGINE=InnoDB`;
const INSERT = "INSERT INTO approach_1 (hour, at, is_click, user) VALUES (?, ?, ?, ?)";
const READ = `
  SELECT COUNT(*) AS events, CAST(COALESCE(SUM(is_click), 0) AS UNSIGNED) AS clicks,
    COUNT(DISTINCT user) AS users
  FROM approach_1 WHERE hour = ?`;

const mysql = new MysqlConnections();
await mysql.define(TABLE);

serveApproach({
  count: ({ hour, at, isClick, user }) => mysql.run(INSERT, [hour, at, isClick ? 1 : 0, user]),
  async read(hour) {
    const { events, clicks, users } = (await mysql.row(READ, [hour]))!;
    return { users: Number(users), clicks: Number(clicks), impressions: Number(events) - Number(clicks) };
  },
});

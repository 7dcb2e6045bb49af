/**
 * Hourly aggregates in MySQL, updated at each event: one call, one transaction. Each user of an hour has a row, since
 * the count depends on whether a user is new.
 */

import { MysqlConnections } from "./mysql-pool.ts";
import type { Counts, Event } from "./request.ts";

const TABLES = [
  `CREATE TABLE IF NOT EXISTS aggregates (
    hour BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    clicks BIGINT UNSIGNED NOT NULL,
    impressions BIGINT UNSIGNED NOT NULL,
    users BIGINT UNSIGNED NOT NULL
  ) ENGINE=InnoDB`,
  `CREATE TABLE IF NOT EXISTS aggregate_users (
    hour BIGINT UNSIGNED NOT NULL,
    user VARBINARY(255) NOT NULL,
    PRIMARY KEY (hour, user)
  ) ENGINE=InnoDB`,
];

// The row that all wait for comes last, so that it is locked for as short as it can be.
const PROCEDURE = `
  CREATE OR REPLACE PROCEDURE count_event(
    this_hour BIGINT UNSIGNED, this_user VARBINARY(255), click TINYINT, impression TINYINT)
  BEGIN
    DECLARE new_users INT;
    START TRANSACTION;
    INSERT IGNORE INTO aggregate_users (hour, user) VALUES (this_hour, this_user);
    SET new_users = ROW_COUNT();
    INSERT INTO aggregates (hour, clicks, impressions, users)
      VALUES (this_hour, click, impression, new_users)
      ON DUPLICATE KEY UPDATE
        clicks = clicks + click, impressions = impressions + impression, users = users + new_users;
    COMMIT;
  END`;
const COUNT = "CALL count_event(?, ?, ?, ?)";
const READ = "SELECT clicks, impressions, users FROM aggregates WHERE hour = ?";

export class MysqlAggregates {
  readonly #mysql = new MysqlConnections();

  async open(): Promise<void> {
    await this.#mysql.define(...TABLES, PROCEDURE);
  }

  async count({ hour, user, isClick }: Event): Promise<void> {
    await this.#mysql.run(COUNT, [hour, user, isClick ? 1 : 0, isClick ? 0 : 1]);
  }

  async read(hour: number): Promise<Counts> {
    const { clicks = 0, impressions = 0, users = 0 } = (await this.#mysql.row(READ, [hour])) ?? {};
    return { users: Number(users), clicks: Number(clicks), impressions: Number(impressions) };
  }
}

/** The MySQL connections of the approaches: prepared statements on a pool. */
import { createPool, type ExecuteValues, type RowDataPacket } from "mysql2/promise";
import { setting } from "./request.ts";

/** One for every two of the clients that the suite sends by default: more share a sync, but cost switches. */
const CONNECTIONS = 32;

export class MysqlConnections {
  readonly #pool = createPool({ uri: setting("MYSQL_URL"), connectionLimit: CONNECTIONS });

  async run(statement: string, values: ExecuteValues): Promise<void> {
    await this.#pool.execute(statement, values);
  }

  async row(query: string, values: ExecuteValues): Promise<Record<string, unknown> | undefined> {
    const [rows] = await this.#pool.execute<RowDataPacket[]>(query, values);
    return rows[0];
  }

  /** Statements that are not prepared: tables and procedures. */
  async define(...statements: readonly string[]): Promise<void> {
    for (const statement of statements) await this.#pool.query(statement);
  }
}

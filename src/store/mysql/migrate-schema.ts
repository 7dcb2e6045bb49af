/**
 * Creates the tables in MySQL by numbered migrations when an instance connects.
 * Invariant: one instance migrates at a time, under a lock that ends with its session. If all tables exist, no
 * privilege to create tables is needed.
 */
import { errorText } from "../../runtime/error-text.ts";
import { type Migration, migration, pendingMigrations } from "../sql/migrations.ts";
import type { MysqlDatabase } from "./connection/database.ts";
import { isForbidden, type MysqlSession } from "./connection/sql-session.ts";
import tables from "./migrations/0001-tables.sql" with { type: "text" };

/** Below the statement's deadline, so that the server's answer gives the reason. */
const LOCK_WAIT_S = 8;

const MIGRATIONS = [migration(1, "tables", tables)];

/** Those that the user has a right on. */
const TABLES = "SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()";

const CREATE_BOOKKEEPING = `
  CREATE TABLE IF NOT EXISTS schema_migrations (
    version INT UNSIGNED NOT NULL,
    name VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    applied_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (version)
  ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin`;

export async function migrateSchema(database: MysqlDatabase): Promise<void> {
  const what = "connect and migrate";
  if ((await database.briefly(what, pendingIn)).length === 0) return;
  await database.alone(what, async (session) => {
    await lock(session, database.lockName("hourglass"));
    await migrate(session);
  });
}

async function lock(session: MysqlSession, name: string): Promise<void> {
  const query = "SELECT GET_LOCK(?, ?) AS got";
  const [answer] = await session.rows<{ got: number | null }>(query, [name, LOCK_WAIT_S]);
  if (answer?.got === 1) return;
  throw new Error(`another instance has held the lock '${name}' for more than ${LOCK_WAIT_S} s`);
}

async function pendingIn(session: MysqlSession): Promise<readonly Migration[]> {
  const tables = (await session.rows<{ name: string }>(TABLES)).map(({ name }) => name);
  if (!tables.includes("schema_migrations")) return MIGRATIONS;
  const applied = await session.rows<{ version: number }>("SELECT version FROM schema_migrations");
  const versions = applied.map(({ version }) => version);
  return pendingMigrations(MIGRATIONS, versions, tables);
}

async function migrate(session: MysqlSession): Promise<void> {
  try {
    await session.run(CREATE_BOOKKEEPING);
    await applyPending(session);
  } catch (error) {
    if (!isForbidden(error)) throw error;
    const advice = "run 'hourglass migrate' once as a user that may create them (docs/operations.md)";
    throw new Error(`${errorText(error)}: the tables are missing or too old, ${advice}`);
  }
}

async function applyPending(session: MysqlSession): Promise<void> {
  for (const { version, name, statements } of await pendingIn(session)) {
    for (const statement of statements) await session.run(statement);
    await session.run("INSERT INTO schema_migrations (version, name) VALUES (?, ?)", [version, name]);
  }
}

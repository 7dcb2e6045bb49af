/** Checks whether MySQL keeps committed rows through a power failure. After the commit no other copy exists. */
import type { MysqlSession } from "./connection/sql-session.ts";

interface Settings {
  readonly flushLog: number;
  readonly hasBinaryLog: number;
  readonly syncBinaryLog: number;
}

const READ = `SELECT @@GLOBAL.innodb_flush_log_at_trx_commit AS flushLog, @@GLOBAL.log_bin AS hasBinaryLog,
  @@GLOBAL.sync_binlog AS syncBinaryLog`;

export async function durabilityWarnings(session: MysqlSession): Promise<string[]> {
  const [settings] = await session.rows<Settings>(READ);
  const { flushLog = 1, hasBinaryLog = 0, syncBinaryLog = 1 } = settings ?? {};
  const warnings: string[] = [];
  if (flushLog !== 1) {
    warnings.push(
      `MySQL may lose about a second of committed rows at a power failure: its innodb_flush_log_at_trx_commit is ` +
        `${flushLog}. Set it to 1.`,
    );
  }
  if (hasBinaryLog === 1 && syncBinaryLog !== 1) {
    warnings.push(
      `MySQL's replicas may lack or contradict committed rows after a power failure: its sync_binlog is ` +
        `${syncBinaryLog}. Set it to 1.`,
    );
  }
  return warnings;
}

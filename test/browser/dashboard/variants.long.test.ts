/** The dashboard with the embedded stores, and that of the program as shipped. */
import { startMariaDb, startRedis } from "../../harness/servers/servers.ts";
import { buildProgram, type Program } from "../../harness/service/program.ts";
import { MODES, type Service, type Site, startService } from "../../harness/service/service.ts";
import { dashboardTests, type Variant } from "./dashboard-tests.ts";

const VARIANTS: readonly Variant[] = [
  MODES.find(({ name }) => name === "embedded")!,
  { name: "embedded, as one program", needs: [], open: () => openProgram(undefined) },
  {
    name: "redis+mysql, as one program",
    needs: ["redis", "mariadb"],
    open: async () => {
      const [redis, mariaDb] = await Promise.all([startRedis(), startMariaDb()]);
      return await openProgram({ redis, mariaDb });
    },
  },
];

async function openProgram(servers: Site["servers"]): ReturnType<Variant["open"]> {
  const urls = servers && { REDIS_URL: servers.redis.url, MYSQL_URL: servers.mariaDb.url };
  const program: Program = await buildProgram();
  let service: Service | undefined;
  return {
    start: async (settings = {}) => {
      service = await startService({ settings: { ...urls, ...settings }, binary: program.path });
      return service;
    },
    servers,
    close: async () => {
      await service?.stop();
      await Promise.all([servers?.redis.stop(), servers?.mariaDb.stop()]);
      program.delete();
    },
  };
}

for (const variant of VARIANTS) dashboardTests(variant);

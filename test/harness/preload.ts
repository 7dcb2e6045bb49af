/**
 * Runs before every test file (bunfig.toml), also under a plain `bun test`: sets one default timeout, and removes
 * anything from the caller's shell that would influence the service or its clients.
 */
import { setDefaultTimeout } from "bun:test";
import { plugin } from "bun";

/** Bun's default of 5 s is too short for a machine that is busy with other test files. */
const TEST_TIMEOUT_MS = 180_000;

const SETTINGS =
  /^(PORT|HOST|DATA_DIR|REDIS_URL|MYSQL_URL|LOG_LEVEL|WORKERS|BROKER_URL|BROKER_QUEUE|(https?|all)_proxy)$/i;

plugin({
  name: "default timeout",
  setup(build) {
    build.onLoad({ filter: /\.test\.ts$/ }, async ({ path }) => {
      // Bun forgets it after each file, and reads none from bunfig.toml.
      setDefaultTimeout(TEST_TIMEOUT_MS);
      return { contents: await Bun.file(path).text(), loader: "ts" };
    });
  },
});
for (const name of Object.keys(process.env)) {
  if (SETTINGS.test(name)) delete process.env[name];
}

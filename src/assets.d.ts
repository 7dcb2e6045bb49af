/** Imported as text: Redis scripts and migrations. */
declare module "*.lua" {
  const source: string;
  export default source;
}
declare module "*.sql" {
  const source: string;
  export default source;
}
/**
 * Imported as the path of a served file (also within the built program), or as its text if the import asks for that.
 */
declare module "*.css" {
  const path: string;
  export default path;
}
declare module "*.js" {
  const path: string;
  export default path;
}

/** Part of `collectDefaultMetrics`, which alone has types. */
declare module "prom-client/lib/metrics/*" {
  export default function register(registry: import("prom-client").Registry): void;
}

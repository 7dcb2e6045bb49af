/** Imports that are texts: scripts of Redis, and migrations. */
declare module "*.lua" {
  const source: string;
  export default source;
}
declare module "*.sql" {
  const source: string;
  export default source;
}
/** Files that are served: the import is their path, within the built program too; their text, if it asks for that. */
declare module "*.css" {
  const path: string;
  export default path;
}
declare module "*.js" {
  const path: string;
  export default path;
}

/** Part of `collectDefaultMetrics`, for which alone there are types. */
declare module "prom-client/lib/metrics/*" {
  export default function register(registry: import("prom-client").Registry): void;
}

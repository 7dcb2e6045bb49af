/** Files that are served as they are: the import is their path, within the built program too. */
declare module "*.css" {
  const path: string;
  export default path;
}
declare module "*.js" {
  const path: string;
  export default path;
}

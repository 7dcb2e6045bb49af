import { DCLinter } from "dclint";

/** The linter's findings in a compose file, as `line: rule: message`. */
export function lintCompose(path: string): string[] {
  const rules = {
    // Keys are ordered by importance to the reader, not alphabetically.
    "service-keys-order": 0 as const,
    "require-quotes-in-ports": [2, { quoteType: "double" }] as [2, Record<string, unknown>],
  };
  const linter = new DCLinter({ rules, quiet: false, debug: false, exclude: [] });
  return linter.lintFiles([path], false).flatMap(({ messages }) => {
    return messages.map(({ line, rule, message }) => `${line}: ${rule}: ${message}`);
  });
}

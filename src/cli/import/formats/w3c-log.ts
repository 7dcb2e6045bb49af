/**
 * Reads W3C extended logs, like those of IIS and CloudFront. A line `#Fields:` names the fields, which are separated by
 * spaces or tabs. Times are UTC unless the server is configured otherwise.
 */
import { ImportError } from "../import-error.ts";
import { type LogTimes, lineOf, type ReadLine } from "./log-line.ts";

const FIELDS = /^#Fields:\s*/i;

/** Undefined if the line names no fields. */
export function w3cFields(line: string): string[] | undefined {
  return FIELDS.test(line) ? line.replace(FIELDS, "").trim().toLowerCase().split(/\s+/) : undefined;
}

/** The reader throws ImportError where the fields change: an import that resumes there would use the first ones. */
export function w3cReader(names: readonly string[], times: LogTimes): ReadLine {
  const at = (name: string) => names.indexOf(name);
  const [date, time, client, method] = [at("date"), at("time"), at("c-ip"), at("cs-method")];
  const [stem, query, status] = [at("cs-uri-stem"), at("cs-uri-query"), at("sc-status")];
  const [referrer, agent] = [at("cs(referer)"), at("cs(user-agent)")];
  return (text) => {
    if (text.startsWith("#")) {
      if ((w3cFields(text) ?? names).join() === names.join()) return "none";
      throw new ImportError(`its fields change, to ${text}: import what follows from a file of its own`);
    }
    const fields = text.split(text.includes("\t") ? "\t" : " ");
    if (fields.length !== names.length) return undefined;
    const queryText = fields[query];
    const path = queryText === undefined || queryText === "-" ? fields[stem] : `${fields[stem]}?${queryText}`;
    const parts = {
      time: `${fields[date]}T${fields[time]}`,
      ...{ user: fields[client], method: fields[method], path, status: fields[status] },
      ...{ referrer: unescaped(fields[referrer]), agent: unescaped(fields[agent]) },
    };
    return lineOf(parts as Record<string, string>, times);
  };
}

/** CloudFront escapes spaces as %20, IIS writes them as +. */
function unescaped(text: string | undefined): string | undefined {
  return text?.replaceAll("+", " ").replaceAll("%20", " ");
}

/** The kinds of settings: which values each accepts, and how it parses them. */
export type Environment = Readonly<Record<string, string | undefined>>;

interface DerivedFallback {
  /** Shown in the help. */
  readonly text: string;
  valueIn(environment: Environment): string;
}

export interface Setting<T> {
  readonly name: string;
  /** The default, as written in the environment. Undefined: off by default. */
  readonly fallback: string | DerivedFallback | undefined;
  readonly help: string;
  /** Tells in the help what numbers it takes. */
  readonly range?: string;
  /** Tells in the help what applies while it is not set. */
  readonly unset?: string;
  /** Tells in the error message what a value must be. */
  readonly takes: string;
  parse(text: string): T | undefined;
  /** Explains why parse() refused a text, if there is more to say. Quotes no part that may be secret. */
  problem?(text: string): string | undefined;
  /** Never shown: it may contain a password. */
  readonly isSecret?: boolean;
}

export type WithDefault<T> = Setting<T> & { readonly fallback: string | DerivedFallback };
export type OffUnlessSet<T> = Setting<T> & { readonly fallback: undefined };

/** A setting that still needs its help. */
interface Unexplained<S> {
  help(text: string): S;
}

function unexplained<S extends Setting<unknown>>(setting: Omit<S, "help">): Unexplained<S> {
  return { help: (help) => ({ ...setting, help }) as unknown as S };
}

export function integer(
  name: string,
  fallback: number | DerivedFallback,
  [min, max]: readonly [number, number],
): Unexplained<WithDefault<number>> {
  return unexplained({
    name,
    fallback: typeof fallback === "number" ? String(fallback) : fallback,
    range: `${min} to ${max}`,
    takes: `an integer from ${min} to ${max}`,
    parse(text) {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      return value >= min && value <= max ? value : undefined;
    },
  });
}

export function days(name: string): Unexplained<OffUnlessSet<number>> {
  return { help: (text) => offUnlessSet(integer(name, 1, [1, 36_500]).help(text)) };
}

export function offUnlessSet<T>(setting: Setting<T>): OffUnlessSet<T> {
  return { ...setting, fallback: undefined };
}

export function oneOf(name: string, fallback: string, values: readonly string[]): Unexplained<WithDefault<string>> {
  const takes = `one of ${values.join(", ")}`;
  const parse = (text: string) => (values.includes(text) ? text : undefined);
  return { help: (text) => ({ name, fallback, help: `${text}: ${takes}`, takes, parse }) };
}

export function flag(name: string): Unexplained<WithDefault<boolean>> {
  const parse = (text: string) => (text === "1" ? true : text === "0" ? false : undefined);
  return unexplained({ name, fallback: "0", takes: "one of 0, 1", parse });
}

export function text(name: string, fallback: string): Unexplained<WithDefault<string>> {
  return unexplained({ name, fallback, takes: "a text that is not empty", parse: (value) => value || undefined });
}

export function file(name: string): Unexplained<OffUnlessSet<string>> {
  return { help: (help) => offUnlessSet({ ...text(name, "").help(help), takes: "the path of a file" }) };
}

/** `problemIn`: explains what is wrong with a URL that has a known protocol and a host. */
export function url(
  name: string,
  { protocols, example }: { readonly protocols: readonly string[]; readonly example: string },
  problemIn: (url: URL) => string | undefined,
): Unexplained<OffUnlessSet<string>> {
  const partsOf = (value: string) => {
    const parsed = URL.parse(value);
    return parsed?.hostname && protocols.includes(parsed.protocol) ? parsed : undefined;
  };
  const problem = (value: string) => {
    const parsed = partsOf(value);
    return parsed && (badEscape(parsed) ?? problemIn(parsed));
  };
  const parse = (value: string) => (partsOf(value) !== undefined && problem(value) === undefined ? value : undefined);
  return unexplained({ name, fallback: undefined, takes: `a URL such as ${example}`, isSecret: true, parse, problem });
}

/** A URL that `placeOf` parses, with any number of hosts. */
export function place(
  name: string,
  takes: string,
  placeOf: (text: string) => object | undefined,
  problem: (text: string) => string | undefined,
): Unexplained<OffUnlessSet<string>> {
  const parse = (value: string) => (placeOf(value) === undefined ? undefined : value);
  return unexplained({ name, fallback: undefined, takes, isSecret: true, parse, problem });
}

/** Undefined if there is none. */
export function badEscapeIn(text: string): string | undefined {
  if (unescaped(text) !== undefined) return undefined;
  return "it has an invalid % escape: write %25 for a percent sign in a user or password";
}

/** A % must be followed by two hexadecimal digits, and the bytes must be UTF-8. */
function badEscape({ username, password, pathname }: URL): string | undefined {
  const parts = Object.entries({ user: username, password, path: pathname });
  const bad = parts.filter(([, part]) => unescaped(part) === undefined).map(([name]) => name);
  return bad.length === 0
    ? undefined
    : `its ${bad.join(" and ")} has an invalid % escape: write %25 for a percent sign`;
}

export function unescaped(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

export function unknownOption(
  { searchParams }: Pick<URL, "searchParams">,
  known: readonly string[],
): string | undefined {
  const unknown = [...searchParams.keys()].filter((name) => !known.includes(name));
  if (unknown.length === 0) return undefined;
  const takes = known.length === 0 ? "it takes no options" : `it takes ${known.join(", ")}`;
  return `its option ${unknown.join(", ")} is not supported: ${takes}`;
}

const SECRET_MIN_CHARS = 16;

export function secret(name: string): Unexplained<OffUnlessSet<string>> {
  const parse = (value: string) => (value.length >= SECRET_MIN_CHARS ? value : undefined);
  const takes = `a text of ${SECRET_MIN_CHARS} or more characters`;
  const problem = (value: string) => `its length is ${value.length}`;
  return unexplained({ name, fallback: undefined, takes, isSecret: true, parse, problem });
}

/** Comma-separated entries. `entryOf`: undefined if a text is not an entry. */
export function list<T>(
  name: string,
  takes: string,
  entryOf: (text: string) => T | undefined,
): Unexplained<OffUnlessSet<readonly T[]>> {
  const parse = (value: string) => entriesOf(value, entryOf);
  return unexplained({ name, fallback: undefined, takes: `${takes}, separated by commas`, parse });
}

function entriesOf<T>(value: string, entryOf: (text: string) => T | undefined): readonly T[] | undefined {
  const entries = value.split(",").map((entry) => entryOf(entry.trim()));
  return entries.includes(undefined) ? undefined : (entries as T[]);
}

const EXPECTS_ORIGINS = "origins separated by commas, such as https://example.com";

/** Normalizes each entry to the form that browsers send: no path, no default port. */
export function origins(name: string, mayBeAll = false): Unexplained<OffUnlessSet<readonly string[]>> {
  const parse = (value: string) => (mayBeAll && value === "*" ? ["*"] : entriesOf(value, originOf));
  const takes = mayBeAll ? `${EXPECTS_ORIGINS}, or * for all` : EXPECTS_ORIGINS;
  return unexplained({ name, fallback: undefined, takes, parse });
}

function originOf(text: string): string | undefined {
  const { origin = "", href } = URL.parse(text) ?? {};
  // A star within a name would be an ordinary character and match nothing.
  return href === `${origin}/` && /^https?:[^*]+$/.test(origin) ? origin : undefined;
}

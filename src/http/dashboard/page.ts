/** The dashboard's HTML with its fixed texts. The modules in client/ fill in the numbers. */
import { RANGE_MAX_HOURS } from "../../domain/hour-range.ts";
import { REFUSALS } from "../../domain/refusal-reasons.ts";
import { STREAM_CHARACTERS, STREAM_MAX_CHARS, STREAM_SELECTION_PATTERN } from "../../domain/stream-rules.ts";
import type { Step, WeekStart } from "../../domain/time-steps.ts";
import { BROKER_NAMES } from "../../settings/broker-url.ts";

const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='%23d97706'%3E" +
  "%3Cpath d='M5 2h14v3c0 3.5-2.6 5.2-4.6 7 2 1.8 4.6 3.5 4.6 7v3H5v-3c0-3.5 2.6-5.2 4.6-7C7.6 10.2 5 8.5 5 5z'/%3E" +
  "%3C/svg%3E";

const GLASS = "M6 3h12M6 21h12M7 3v3c0 3 5 4 5 6s-5 3-5 6v3M17 3v3c0 3-5 4-5 6s5 3 5 6v3";
const SAND = "M8.5 20.5c0-2.5 2-3.5 3.5-5 1.5 1.5 3.5 2.5 3.5 5zM9.5 7h5c-.7 1.2-1.9 1.9-2.5 3-.6-1.1-1.8-1.8-2.5-3z";

function radios(name: string, choices: Readonly<Record<string, string>>): string {
  return Object.entries(choices)
    .map(([value, label]) => {
      const input = `<input type="radio" name="${name}" value="${value}" id="${name}-${value}" />`;
      return `<label>${input}<span>${label}</span></label>`;
    })
    .join("");
}

function options(choices: Readonly<Record<string, string>>): string {
  return Object.entries(choices)
    .map(([value, label]) => `<option value="${value}">${label}</option>`)
    .join("");
}

function card(metric: string, label: string): string {
  return `
          <div class="card stat">
            <dt>${label}</dt>
            <dd class="stat-value" id="now-${metric}">–</dd>
            <dd class="stat-note" id="now-${metric}-note"></dd>
            <dd class="stat-spark" aria-hidden="true">
              <svg class="spark" viewBox="0 0 120 28" preserveAspectRatio="none">
                <polyline id="spark-${metric}" points="" />
              </svg>
            </dd>
          </div>`;
}

function figure(name: string, label: string): string {
  return `<div class="figure figure-${name}"><dt>${label}</dt><dd id="ledger-${name}">–</dd></div>`;
}

function store(which: string, label: string): string {
  return `
            <li class="health" id="store-${which}" data-status="unknown">
              <span class="dot" aria-hidden="true"></span>
              <span class="health-name"><span id="store-${which}-name">…</span> <small>${label}</small></span>
              <span class="health-status" id="store-${which}-status"></span>
            </li>`;
}

const METRICS = { clicks: "Clicks", impressions: "Impressions", ctr: "CTR", unique_users: "Unique users" };
const ORDERS: Readonly<Record<keyof typeof METRICS, string>> = {
  clicks: "by clicks",
  impressions: "by impressions",
  ctr: "by CTR",
  unique_users: "by users",
};
const LEDGER_PARTS = ["persisted", "pending", "handed-over", "lost"];
const RANGES = { "24h": "24 h", "7d": "7 d", "30d": "30 d", "12mo": "12 months", dates: "Dates" };
const STEPS: Readonly<Record<Exclude<Step, "total">, string>> = {
  hour: "Hour",
  day: "Day",
  week: "Week",
  month: "Month",
};
const COMPARISONS = { day: "vs. previous days", week: "vs. previous weeks" };
const WEEKS: Readonly<Record<WeekStart, string>> = {
  monday: "Weeks from Monday",
  sunday: "Weeks from Sunday",
  saturday: "Weeks from Saturday",
};

/** Encodes a value for an attribute in double quotes. */
function jsonAttribute(value: unknown): string {
  return JSON.stringify(value).replaceAll("&", "&amp;").replaceAll('"', "&quot;");
}

/** `modules` are preloaded; otherwise they would load one after the other, as they import each other. */
export function dashboardPage(modules: readonly string[]): string {
  const preloads = modules.map((path) => `    <link rel="modulepreload" href="${path}" />`).join("\n");
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="description" content="Clicks, impressions and unique users per hour, live" />
    <title>Hourglass</title>
    <link rel="icon" href="${ICON}" />
    <script src="dashboard/theme.js"></script>
    <link rel="stylesheet" href="dashboard/uplot.css" />
    <link rel="stylesheet" href="dashboard/page.css" />
${preloads}
    <script src="dashboard/uplot.js" defer></script>
    <!-- Blocks rendering: until it has run, the controls do not have the size that the address gives them. -->
    <script src="dashboard/main.js" type="module" blocking="render"></script>
  </head>
  <body data-stream-pattern="${STREAM_SELECTION_PATTERN}" data-stream-characters="${STREAM_CHARACTERS}"
    data-stream-max-chars="${STREAM_MAX_CHARS}" data-range-max-hours="${RANGE_MAX_HOURS}"
    data-texts="${jsonAttribute({ refusals: REFUSALS, brokers: BROKER_NAMES })}">
    <a class="skip" href="#main">Skip to the numbers</a>
    <header class="top">
      <h1>
        <svg viewBox="0 0 24 24" aria-hidden="true">
          <path class="glass" d="${GLASS}" />
          <path class="sand" d="${SAND}" />
        </svg>
        Hourglass
      </h1>
      <p class="connection" id="connection" data-state="connecting" role="status">
        <span class="dot" aria-hidden="true"></span><span id="connection-text">Connecting</span>
      </p>
      <nav aria-label="More"><a href="docs">API</a></nav>
      <button type="button" class="icon-button" id="theme" aria-label="Use dark colours">
        <svg viewBox="0 0 24 24" aria-hidden="true">
          <path d="M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18" />
        </svg>
      </button>
    </header>
    <main id="main">
      <div id="notices" aria-live="polite"></div>
      <p class="notice" id="address-fault" role="status" hidden>
        <b>Invalid parameter in the address</b><span id="address-fault-text"></span>
      </p>
      <section class="toolbar" aria-label="What is shown">
        <div class="picker" id="picker">
          <button type="button" class="picker-button" id="picker-button" aria-haspopup="dialog"
            aria-expanded="false" aria-controls="picker-panel" aria-keyshortcuts="/">
            <span class="sr">Stream: </span><span id="picker-name">All streams</span>
            <svg viewBox="0 0 24 24" aria-hidden="true"><path d="m6 9 6 6 6-6" /></svg>
          </button>
          <div class="panel" id="picker-panel" role="dialog" aria-label="Choose a stream" hidden>
            <input class="field" id="picker-input" type="text" role="combobox" aria-expanded="true"
              aria-controls="picker-list" aria-autocomplete="list" aria-label="Find a stream"
              placeholder="Find a stream"
              autocomplete="off" autocapitalize="none" spellcheck="false" maxlength="${STREAM_MAX_CHARS}" />
            <ul id="picker-list" role="listbox" aria-label="Streams"></ul>
            <p class="note" id="picker-note" role="status"></p>
          </div>
        </div>
        <fieldset class="segments" id="range">
          <legend class="sr">Time</legend>${radios("range", RANGES)}
        </fieldset>
        <form id="dates" novalidate hidden>
          <label><span class="sr">First day</span><input class="field" id="first-day" type="date" required /></label>
          <label><span class="sr">Last day</span><input class="field" id="last-day" type="date" required /></label>
          <button type="submit" class="button">Show</button>
        </form>
        <fieldset class="segments" id="step">
          <legend class="sr">Step</legend>${radios("step", STEPS)}
        </fieldset>
        <label id="week-start-choice" hidden><span class="sr">First day of a week</span>
          <select id="week_start">${options(WEEKS)}</select></label>
        <label><span class="sr">Compare with</span><select id="compare">${options(COMPARISONS)}</select></label>
        <label><span class="sr">Time zone</span><select id="tz"></select></label>
        <button type="button" class="button" id="zoom-out" hidden>Reset zoom</button>
      </section>
      <section id="now" aria-labelledby="now-title" data-state="loading">
        <div class="head">
          <h2 id="now-title">This hour</h2>
          <p class="muted now-what"><span id="now-stream">All streams</span> · <span id="now-span">…</span></p>
          <div class="hour">
            <progress id="hour-progress" max="1" value="0" aria-label="How much of the hour is over"></progress>
            <span class="muted hour-left" id="hour-left"></span>
          </div>
        </div>
        <dl class="cards">${Object.entries(METRICS)
          .map(([metric, label]) => card(metric, label))
          .join("")}
        </dl>
      </section>
      <div class="columns">
        <section class="card" id="chart-card" aria-labelledby="chart-title" data-state="loading">
          <div class="head">
            <h2 id="chart-title">Clicks per hour</h2>
            <fieldset class="segments" id="metric">
              <legend class="sr">What is counted</legend>${radios("metric", METRICS)}
            </fieldset>
            <p class="muted" id="chart-span"></p>
          </div>
          <div class="sub-head">
            <p id="chart-sums"></p>
            <div class="tools">
              <button type="button" class="button" id="table-toggle" aria-pressed="false">Table</button>
              <a class="button" id="csv" href="series" download>CSV</a>
            </div>
          </div>
          <div class="stage">
            <div id="plot" tabindex="0" role="application" aria-roledescription="chart" aria-label="Chart"
              aria-describedby="plot-help" hidden></div>
            <div id="chart-table" class="scroll" tabindex="0" role="region" aria-label="The series as a table" hidden>
              <table>
                <thead><tr id="chart-table-head"></tr></thead>
                <tbody id="chart-table-body"></tbody>
              </table>
            </div>
            <div id="chart-loading" class="state"><div class="shimmer"></div><p class="sr">Loading</p></div>
            <div id="chart-empty" class="state" hidden>
              <svg class="state-icon" viewBox="0 0 24 24" aria-hidden="true"><path d="${GLASS}" /></svg>
              <h3>Nothing yet</h3>
              <p id="empty-text"></p>
              <p>Send one, and watch it arrive:</p>
              <pre tabindex="0" aria-label="A command that sends a click"><code id="empty-command"></code></pre>
              <button type="button" class="button" id="copy">Copy</button>
            </div>
            <div id="chart-error" class="state" hidden>
              <h3>These numbers cannot be read</h3>
              <p id="error-text"></p>
              <p>The page retries every few seconds.</p>
              <button type="button" class="button" id="retry">Try now</button>
            </div>
          </div>
          <p class="note" id="chart-fault" role="status"></p>
          <p class="note" id="plot-help">Drag to zoom. With the keyboard: arrows to read, + to zoom, Esc to go back.</p>
          <p class="sr" id="spoken" aria-live="assertive"></p>
        </section>
        <section class="card" id="top" aria-labelledby="top-title" data-state="loading">
          <div class="head">
            <h2 id="top-title">Top streams</h2>
            <label><span class="sr">Sorted</span>
              <select id="top-order">${options(ORDERS)}</select>
            </label>
          </div>
          <div class="scroll" tabindex="0" role="region" aria-label="Streams by rank">
            <table>
              <thead>
                <tr>
                  <th scope="col">Stream</th>
                  <th scope="col">Clicks</th>
                  <th scope="col"><abbr title="Impressions">Impr.</abbr></th>
                  <th scope="col">CTR</th>
                  <th scope="col">Users</th>
                </tr>
              </thead>
              <tbody id="top-body"></tbody>
            </table>
          </div>
          <p class="note" id="top-note"></p>
        </section>
        <section class="card" id="ledger" aria-labelledby="ledger-title">
          <div class="head">
            <div class="titles">
              <h2 id="ledger-title">Ledger</h2>
              <p class="muted">of this instance, since it started</p>
            </div>
            <p class="badge" id="ledger-holds" data-status="unknown">…</p>
          </div>
          <div class="ledger-bar" id="ledger-bar" role="img" aria-label="No events yet">${LEDGER_PARTS.map(
            (part) => `<span class="ledger-part" id="ledger-bar-${part}" hidden></span>`,
          ).join("")}</div>
          <dl class="figures">
            ${figure("accepted", "Accepted")}${figure("persisted", "Persisted")}${figure("pending", "Pending")}
            ${figure("refused", "Refused")}${figure("duplicates", "Duplicates")}${figure("oldest", "Oldest unflushed")}
          </dl>
          <p class="note" id="ledger-more"></p>
        </section>
        <section class="card" id="stores" aria-labelledby="stores-title">
          <div class="head"><h2 id="stores-title">Stores and writers</h2></div>
          <ul class="healths">${store("hot", "hot store")}${store("cold", "cold store")}
          </ul>
          <ul class="healths" id="writers" aria-label="Writers"></ul>
          <p class="note" id="writers-note"></p>
          <ul class="healths" id="sources" aria-label="Queues"></ul>
        </section>
      </div>
    </main>
    <noscript>
      <p class="notice">This page needs JavaScript. Its numbers come from <a href="docs">the API</a>.</p>
    </noscript>
    <dialog id="key-dialog" aria-labelledby="key-title">
      <form method="dialog">
        <h2 id="key-title">API key</h2>
        <p class="muted">
          Reading requires an API key with the scope read. This tab keeps the key until it is closed.
        </p>
        <label class="field-label" for="key">Key</label>
        <input class="field" id="key" type="password" autocomplete="off" spellcheck="false" required
          aria-describedby="key-fault" />
        <p class="fault" id="key-fault" role="alert"></p>
        <div class="actions">
          <button type="submit" class="button primary" value="ok">Use key</button>
          <button type="submit" class="button" value="cancel" formnovalidate>Not now</button>
        </div>
      </form>
    </dialog>
  </body>
</html>
`;
}

/* The dashboard: loads and shows what the address says. It uses only the service's public API. */
import { Api, ApiError, addressOf } from "./api.js";
import { ChartCard } from "./chart-card.js";
import { byId, checkRadio, choicesOf, element, onRadio, setText } from "./dom.js";
import { secondsText } from "./format.js";
import { Live } from "./live.js";
import { NowCards } from "./now-cards.js";
import { setNotices, showService } from "./service-state.js";
import { StreamPicker, streamTitle } from "./stream-picker.js";
import { DAY_MS, defaultStep, earlierBy, HOUR_MS, isStepFitting, periodOf, wholeHoursTo, Zone } from "./time.js";
import { TopStreams } from "./top-streams.js";
import { isoMinute, PERIOD_MAX_HOURS, queryOf, readState, withFittingStep } from "./view-state.js";

const REFRESH_MS = 60_000;
const RETRY_MS = 5_000;
const TOP_STREAMS = 10;

class Dashboard {
  #state = readState(location.search);
  #api = new Api();
  #cards = new NowCards();
  #chartCard = new ChartCard({
    onZoom: (from, to) => {
      const zoom = { from, to };
      this.#change({ zoom, step: defaultStep(this.#state.range, zoom) });
    },
    onZoomOut: () => this.#zoomOut(),
  });
  #top = new TopStreams({
    onPick: (stream) => this.#change({ stream }),
    onOrder: (order) => this.#change({ order }),
  });
  #picker = new StreamPicker({
    load: (selection, limit) => this.#streams(selection, limit),
    rank: () => this.#state.order,
    onPick: (stream) => this.#change({ stream }),
  });
  #live = new Live(this.#api, {
    onMessage: (message) => this.#received(message),
    onState: (state, error) => this.#showConnection(state, error),
  });
  #loading;
  #timer;
  /** The last message's hour, and whether both stores were available. */
  #hour;
  #areStoresWell = true;
  /** When the last complete message arrived, and since when the hot store is unavailable. */
  #freshAtMs;
  #unavailableSinceMs;

  start() {
    onRadio(byId("range"), (range) => this.#chooseRange(range));
    onRadio(byId("step"), (step) => this.#change({ step }));
    onRadio(byId("metric"), (metric) => this.#change({ metric }));
    for (const name of ["compare", "week_start"])
      byId(name).addEventListener("change", ({ target }) => this.#change({ [name]: target.value }));
    byId("tz").addEventListener("change", ({ target }) => this.#change({ zone: Zone.named(target.value) }));
    byId("dates").addEventListener("submit", (event) => this.#chooseDates(event));
    byId("zoom-out").addEventListener("click", () => this.#zoomOut());
    byId("retry").addEventListener("click", () => this.#loadAgain());
    byId("csv").addEventListener("click", (event) => this.#download(event));
    byId("theme").addEventListener("click", () => dispatchEvent(new Event("toggletheme")));
    addEventListener("themechange", () => showTheme());
    addEventListener("popstate", () => this.#show(readState(location.search)));
    addEventListener("keydown", (event) => this.#shortcut(event));
    document.addEventListener("visibilitychange", () => document.hidden || this.#refresh());
    showTheme();
    this.#show(this.#state);
  }

  #chooseRange(range) {
    byId("dates").hidden = range !== "dates";
    if (range !== "dates") return this.#change({ range, zoom: undefined, step: defaultStep(range) });
    const { zone } = this.#state;
    const { from, to } = periodOf(this.#state, Date.now());
    const dateOf = (at) => new Date(zone.localOf(at)).toISOString().slice(0, 10);
    byId("first-day").value = dateOf(from);
    byId("last-day").value = dateOf(to - 1);
    byId("first-day").focus();
  }

  /** Whole days of the zone, both ends inclusive. */
  #chooseDates(event) {
    event.preventDefault();
    const { zone } = this.#state;
    const [first, last] = ["first-day", "last-day"].map((id) => byId(id).valueAsNumber);
    const zoom = { from: zone.instantOf(first), to: zone.instantOf(last + DAY_MS) };
    const isRight = zoom.to > zoom.from && zoom.to - zoom.from <= PERIOD_MAX_HOURS * HOUR_MS;
    const expected = `The last day comes after the first, by at most ${Math.floor(PERIOD_MAX_HOURS / 24)} days.`;
    byId("last-day").setCustomValidity(isRight ? "" : expected);
    if (byId("dates").reportValidity()) this.#change({ zoom, step: defaultStep(this.#state.range, zoom) });
  }

  #change(some) {
    const state = withFittingStep({ ...this.#state, ...some, faults: [] });
    history.pushState(null, "", queryOf(state) || location.pathname);
    this.#show(state);
  }

  #zoomOut() {
    if (this.#state.zoom === undefined) return;
    this.#change({ zoom: undefined, step: defaultStep(this.#state.range) });
  }

  #show(state) {
    const before = this.#state;
    const isFirst = this.#loading === undefined;
    const isSame = (...names) => !isFirst && names.every((name) => before[name] === state[name]);
    this.#state = state;
    this.#showControls();
    if (!isSame("stream")) {
      this.#cards.reset();
      this.#live.watch(state.stream);
    }
    if (!isSame("metric")) this.#chartCard.restate(state);
    const isSamePeriod =
      isSame("range", "step", "zone", "compare", "week_start") &&
      String(before.zoom?.from) === String(state.zoom?.from) &&
      String(before.zoom?.to) === String(state.zoom?.to);
    if (isSamePeriod && isSame("stream", "order")) return;
    if (!isSamePeriod || !isSame("stream")) this.#chartCard.load(state);
    if (isFirst) this.#top.load();
    this.#refresh();
  }

  #showControls() {
    const { stream, range, step, metric, zoom } = this.#state;
    document.title = stream === "*" ? "Hourglass" : `${stream} · Hourglass`;
    this.#picker.show(stream);
    checkRadio(byId("range"), zoom === undefined ? range : "dates");
    if (zoom === undefined) byId("dates").hidden = true;
    checkRadio(byId("step"), step);
    checkRadio(byId("metric"), metric);
    const now = Date.now();
    for (const each of choicesOf("step")) byId(`step-${each}`).disabled = !isStepFitting(each, this.#state, now);
    byId("compare").value = this.#state.compare;
    byId("week_start").value = this.#state.week_start;
    byId("week-start-choice").hidden = step !== "week";
    chooseZone(this.#state.zone.name);
    byId("zoom-out").hidden = zoom === undefined;
    byId("address-fault").hidden = this.#state.faults.length === 0;
    setText(byId("address-fault-text"), this.#state.faults.join(" "));
    setText(byId("now-stream"), streamTitle(stream));
    byId("csv").href = addressOf("series", {
      ...this.#seriesQuery(periodOf(this.#state, now)),
      format: "csv",
    });
  }

  #seriesQuery({ from, to }, step = this.#state.step) {
    const { stream, zone, week_start } = this.#state;
    // In a zone that is not whole hours from UTC, its hours would have to be counted from stored events.
    const isByUtcHours = this.#state.step === "hour" && zone.offsetAt(from) % HOUR_MS !== 0;
    const tz = isByUtcHours ? "UTC" : zone.name;
    const ofWeeks = step === "week" ? { week_start } : {};
    return { stream, step, tz, ...ofWeeks, from: isoMinute(from), to: isoMinute(to) };
  }

  #streamsQuery(stream, limit) {
    const { from, to } = periodOf(this.#state, Date.now());
    return { from: isoMinute(from), to: isoMinute(to), limit, order: this.#state.order, stream };
  }

  #loadAgain() {
    this.#api.askAgain();
    this.#chartCard.load(this.#state);
    this.#refresh();
  }

  /** Loads everything that is not live. Old numbers stay until new ones arrive. */
  #refresh() {
    this.#loading?.abort();
    const loading = new AbortController();
    this.#loading = loading;
    clearTimeout(this.#timer);
    this.#again(REFRESH_MS);
    // Independent of each other: one may fail.
    this.#loadSeries(loading.signal).catch((error) => this.#failed(error, loading, (e) => this.#chartCard.failed(e)));
    this.#loadStreams(loading.signal).catch((error) =>
      this.#failed(error, loading, (e) => this.#top.failed(e.message)),
    );
  }

  #again(ms) {
    clearTimeout(this.#timer);
    // Spread, so that open pages do not all ask at the same instant.
    this.#timer = setTimeout(() => document.hidden || this.#refresh(), ms * (0.9 + Math.random() / 5));
  }

  #failed(error, loading, show) {
    if (loading.signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    show(error);
    // A retry with the same key would be refused again.
    if (error.status !== 403) this.#again(RETRY_MS);
  }

  async #loadSeries(signal) {
    const atMs = Date.now();
    const { from, to } = periodOf(this.#state, atMs);
    const earlier = earlierBy(this.#state, { from, to });
    const wholeTo = wholeHoursTo(this.#state, { to }, atMs);
    const periodBefore = (end) => ({ from: earlier(from), to: earlier(end) });
    const queries = [this.#seriesQuery({ from, to }), this.#seriesQuery(periodBefore(to))];
    // Excludes the current hour: its users can't be subtracted from the total.
    const isOpen = from < wholeTo && wholeTo < to;
    if (isOpen)
      queries.push(
        this.#seriesQuery({ from, to: wholeTo }, "total"),
        this.#seriesQuery(periodBefore(wholeTo), "total"),
      );
    const answers = await Promise.all(queries.map((query) => this.#api.json("series", query, signal)));
    signal.throwIfAborted();
    const [now, before, nowTotal = now, beforeTotal = before] = answers.map(({ body }) => body);
    const compared = wholeTo <= from ? undefined : { now: nowTotal.total, before: beforeTotal.total };
    const isDegraded = answers.some((answer) => answer.isDegraded);
    this.#chartCard.found({ now, before, compared, earlier, from, to, wholeTo, isDegraded, atMs });
  }

  /** Lists the streams of the chosen branch, or else all that the key may read. */
  async #loadStreams(signal) {
    const { stream } = this.#state;
    const body = await this.#streams(stream.endsWith("*") ? stream : "*", TOP_STREAMS, signal);
    signal.throwIfAborted();
    this.#top.show(body, this.#state);
    this.#picker.know(body.streams);
  }

  /** A key limited to some streams can't list all of them. */
  async #streams(selection, limit, signal) {
    const { stream } = this.#state;
    try {
      return (await this.#api.json("streams", this.#streamsQuery(selection, limit), signal)).body;
    } catch (error) {
      if (error.code !== "stream_not_allowed" || selection === stream) throw error;
      return (await this.#api.json("streams", this.#streamsQuery(stream, limit), signal)).body;
    }
  }

  #received(message) {
    if (message.stream !== this.#state.stream) return;
    const { hour, degraded, hot_store } = message;
    this.#unavailableSinceMs = hot_store.since && Date.parse(hot_store.since);
    const isFresh = hour !== null && degraded === undefined;
    if (isFresh) this.#freshAtMs = Date.parse(message.at);
    this.#showConnection(isFresh ? "live" : "stale");
    this.#cards.show(message, this.#state.zone);
    showService(message);
    this.#chartCard.update(message);
    const areStoresWell = message.hot_store.status === "ok" && message.cold_store.status === "ok";
    const isOtherHour = this.#hour !== undefined && message.hour !== null && this.#hour !== message.hour.from;
    this.#hour = message.hour?.from ?? this.#hour;
    const isBack = areStoresWell && !this.#areStoresWell;
    this.#areStoresWell = areStoresWell;
    if (isBack || isOtherHour) this.#refresh();
  }

  #showConnection(state, error) {
    const wasLost = byId("connection").dataset.state === "lost";
    byId("connection").dataset.state = state;
    document.body.classList.toggle("is-lost", state === "lost");
    if (wasLost && state === "live") this.#refresh();
    const texts = { connecting: "Connecting", live: "Live", lost: "Connection lost, trying again" };
    setText(byId("connection-text"), texts[state] ?? this.#staleText());
    if (state !== "lost") return;
    byId("now").dataset.state = "away";
    const needsKey = error?.status === 401 || error?.status === 403;
    if (needsKey)
      setNotices([["A key is needed", "Reading from this service requires an API key with the scope read."]]);
    else if (error?.code === "overloaded")
      setNotices([["Too many viewers", "Live numbers will appear once other viewers leave."]]);
    else if (error !== undefined) setNotices([["The service does not answer", "The page retries until it does."]]);
  }

  /** Uses this page's knowledge first, then the service's. */
  #staleText() {
    const since = this.#freshAtMs ?? this.#unavailableSinceMs;
    if (since === undefined) return "No new numbers";
    return `No new numbers since ${secondsText(this.#state.zone.localOf(since))}`;
  }

  async #download(event) {
    event.preventDefault();
    const query = this.#seriesQuery(periodOf(this.#state, Date.now()));
    try {
      const answer = await this.#api.get("series", { ...query, format: "csv" }, { accept: "text/csv" });
      const address = URL.createObjectURL(await answer.blob());
      const name = `${streamTitle(query.stream).replaceAll(" ", "-").replace("*", "")}_${query.from}_${query.to}.csv`;
      const link = Object.assign(document.createElement("a"), {
        href: address,
        download: name.replaceAll(":", ""),
      });
      link.click();
      setTimeout(() => URL.revokeObjectURL(address), 10_000);
    } catch (error) {
      this.#chartCard.failed(error);
    }
  }

  #shortcut(event) {
    const isTyping = event.target.closest("input:not([type=radio]), select, dialog") !== null;
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.#picker.open();
  }
}

/** Lists UTC, the system's zone and the chosen one first. */
function chooseZone(name) {
  const place = byId("tz");
  if (place.value === name) return;
  const own = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  const names = new Set(["UTC", own, name, ...Intl.supportedValuesOf("timeZone")]);
  place.replaceChildren(...[...names].map((each) => element("option", { value: each }, each.replaceAll("_", " "))));
  place.value = name;
}

function showTheme() {
  const isDark = document.documentElement.dataset.theme === "dark";
  byId("theme").setAttribute("aria-label", isDark ? "Use light colours" : "Use dark colours");
}

new Dashboard().start();

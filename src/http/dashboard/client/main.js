/* The dashboard: what the address says is asked for, and shown. It knows the service by its public API alone. */
import { Api, ApiError, addressOf } from "./api.js";
import { ChartCard } from "./chart-card.js";
import { byId, checkRadio, onRadio, setText } from "./dom.js";
import { askForKey } from "./key-dialog.js";
import { Live } from "./live.js";
import { NowCards } from "./now-cards.js";
import { setNotices, showService } from "./service-state.js";
import { StreamPicker, streamTitle } from "./stream-picker.js";
import { TopStreams } from "./top-streams.js";
import { defaultStep, isDayStepFitting, isoHour, periodOf, queryOf, readState, withFittingStep } from "./view-state.js";

const REFRESH_MS = 60_000;
const RETRY_MS = 5_000;
const TOP_STREAMS = 10;

class Dashboard {
  #state = readState(location.search);
  #api = new Api(askForKey);
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
    load: (prefix, limit) => this.#streams(prefix, limit),
    onPick: (stream) => this.#change({ stream }),
  });
  #live = new Live(this.#api, {
    onMessage: (message) => this.#received(message),
    onState: (state, error) => this.#connection(state, error),
  });
  #loading;
  #timer;
  /** Of the last message: the hour that it was in, and whether the stores were there. */
  #hour;
  #areStoresWell = true;

  start() {
    onRadio(byId("range"), (range) => this.#change({ range, zoom: undefined, step: defaultStep(range) }));
    onRadio(byId("step"), (step) => this.#change({ step }));
    onRadio(byId("metric"), (metric) => this.#change({ metric }));
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

  #change(some) {
    const state = withFittingStep({ ...this.#state, ...some });
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
      isSame("range", "step") &&
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
    checkRadio(byId("range"), zoom === undefined ? range : undefined);
    checkRadio(byId("step"), step);
    checkRadio(byId("metric"), metric);
    byId("step-day").disabled = !isDayStepFitting(this.#state);
    byId("zoom-out").hidden = zoom === undefined;
    setText(byId("now-stream"), streamTitle(stream));
    byId("csv").href = addressOf("series", { ...this.#seriesQuestion().now, format: "csv" });
  }

  #seriesQuestion() {
    const { stream, step } = this.#state;
    const { from, to, before } = periodOf(this.#state, Date.now());
    return {
      now: { stream, step, from: isoHour(from), to: isoHour(to) },
      before: { stream, step, from: isoHour(before), to: isoHour(from) },
    };
  }

  #streamsQuestion(prefix, limit) {
    const { from, to } = this.#seriesQuestion().now;
    return { from, to, limit, order: this.#state.order, ...(prefix !== "" && { prefix }) };
  }

  #loadAgain() {
    this.#api.askAgain();
    this.#chartCard.load(this.#state);
    this.#refresh();
  }

  /** Asks for all that is not live. What is shown stays until there is something newer. */
  #refresh() {
    this.#loading?.abort();
    const loading = new AbortController();
    this.#loading = loading;
    clearTimeout(this.#timer);
    this.#again(REFRESH_MS);
    // They are independent of each other: one may fail.
    this.#loadSeries(loading.signal).catch((error) => this.#failed(error, loading, (e) => this.#chartCard.failed(e)));
    this.#loadStreams(loading.signal).catch((error) =>
      this.#failed(error, loading, (e) => this.#top.failed(e.message)),
    );
  }

  #again(ms) {
    clearTimeout(this.#timer);
    // Not all pages at the same instant.
    this.#timer = setTimeout(() => document.hidden || this.#refresh(), ms * (0.9 + Math.random() / 5));
  }

  #failed(error, loading, tell) {
    if (loading.signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    tell(error);
    // What a key is not for stays so.
    if (error.status !== 403) this.#again(RETRY_MS);
  }

  async #loadSeries(signal) {
    const atMs = Date.now();
    const question = this.#seriesQuestion();
    const [now, before] = await Promise.all([
      this.#api.json("series", question.now, signal),
      this.#api.json("series", question.before, signal),
    ]);
    signal.throwIfAborted();
    const isDegraded = now.isDegraded || before.isDegraded;
    this.#chartCard.found({ now: now.body, before: before.body, isDegraded, atMs });
  }

  async #loadStreams(signal) {
    const body = await this.#streams("", TOP_STREAMS, signal);
    signal.throwIfAborted();
    this.#top.show(body, this.#state);
    this.#picker.know(body.streams);
  }

  /** A key of some streams can't list all of them: then it is those of the branch that is looked at. */
  async #streams(prefix, limit, signal) {
    const { stream } = this.#state;
    const branch = stream.endsWith("*") ? stream.slice(0, -1) : prefix;
    try {
      return (await this.#api.json("streams", this.#streamsQuestion(prefix, limit), signal)).body;
    } catch (error) {
      if (error.code !== "stream_not_allowed" || branch === prefix) throw error;
      return (await this.#api.json("streams", this.#streamsQuestion(branch, limit), signal)).body;
    }
  }

  #received(message) {
    if (message.stream !== this.#state.stream) return;
    this.#cards.show(message);
    showService(message);
    this.#chartCard.update(message);
    const areStoresWell = message.hot_store.status === "ok" && message.cold_store.status === "ok";
    const isOtherHour = this.#hour !== undefined && message.hour !== null && this.#hour !== message.hour.from;
    this.#hour = message.hour?.from ?? this.#hour;
    const isBack = areStoresWell && !this.#areStoresWell;
    this.#areStoresWell = areStoresWell;
    if (isBack || isOtherHour) this.#refresh();
  }

  #connection(state, error) {
    const wasLost = byId("connection").dataset.state === "lost";
    byId("connection").dataset.state = state;
    document.body.classList.toggle("is-lost", state === "lost");
    if (wasLost && state === "live") this.#refresh();
    const texts = { connecting: "Connecting", live: "Live", lost: "Connection lost, trying again" };
    setText(byId("connection-text"), texts[state]);
    if (state !== "lost") return;
    byId("now").dataset.state = "away";
    const needsKey = error?.status === 401 || error?.status === 403;
    if (needsKey)
      setNotices([["A key is needed", "The numbers of this service are for those with a key that may read."]]);
    else if (error?.code === "overloaded")
      setNotices([["Too many watch", "The live numbers come once others have left."]]);
    else if (error !== undefined) setNotices([["The service does not answer", "It is asked again, until it does."]]);
  }

  /** With a key in the header, which a link can't have. */
  async #download(event) {
    event.preventDefault();
    const { now } = this.#seriesQuestion();
    try {
      const answer = await this.#api.get("series", { ...now, format: "csv" }, { accept: "text/csv" });
      const address = URL.createObjectURL(await answer.blob());
      const name = `${streamTitle(now.stream).replaceAll(" ", "-").replace("*", "")}_${now.from}_${now.to}.csv`;
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

function showTheme() {
  const isDark = document.documentElement.dataset.theme === "dark";
  byId("theme").setAttribute("aria-label", isDark ? "Use light colours" : "Use dark colours");
}

new Dashboard().start();

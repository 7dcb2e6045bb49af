/** GET /: the dashboard. All its files are part of the program. */
import uplotJs from "uplot/dist/uPlot.iife.min.js" with { type: "file" };
import uplotCss from "uplot/dist/uPlot.min.css" with { type: "file" };
import { assetRoutes, CSS, HTML, JAVASCRIPT, PAGE_HEADERS, StaticAsset } from "../static-asset.ts";
import apiJs from "./client/api.js" with { type: "file" };
import chartJs from "./client/chart.js" with { type: "file" };
import chartCardJs from "./client/chart-card.js" with { type: "file" };
import domJs from "./client/dom.js" with { type: "file" };
import formatJs from "./client/format.js" with { type: "file" };
import liveJs from "./client/live.js" with { type: "file" };
import mainJs from "./client/main.js" with { type: "file" };
import metricsJs from "./client/metrics.js" with { type: "file" };
import nowCardsJs from "./client/now-cards.js" with { type: "file" };
import serviceStateJs from "./client/service-state.js" with { type: "file" };
import streamPickerJs from "./client/stream-picker.js" with { type: "file" };
import themeJs from "./client/theme.js" with { type: "file" };
import timeJs from "./client/time.js" with { type: "file" };
import topStreamsJs from "./client/top-streams.js" with { type: "file" };
import viewStateJs from "./client/view-state.js" with { type: "file" };
import pageCss from "./page.css" with { type: "file" };
import { dashboardPage } from "./page.ts";

/** The modules' files by URL path. */
const MODULES: Readonly<Record<string, string>> = {
  "dashboard/main.js": mainJs,
  "dashboard/api.js": apiJs,
  "dashboard/chart.js": chartJs,
  "dashboard/chart-card.js": chartCardJs,
  "dashboard/dom.js": domJs,
  "dashboard/format.js": formatJs,
  "dashboard/live.js": liveJs,
  "dashboard/metrics.js": metricsJs,
  "dashboard/now-cards.js": nowCardsJs,
  "dashboard/time.js": timeJs,
  "dashboard/service-state.js": serviceStateJs,
  "dashboard/stream-picker.js": streamPickerJs,
  "dashboard/top-streams.js": topStreamsJs,
  "dashboard/view-state.js": viewStateJs,
};
const SCRIPTS = { ...MODULES, "dashboard/theme.js": themeJs, "dashboard/uplot.js": uplotJs };
const STYLES = { "dashboard/page.css": pageCss, "dashboard/uplot.css": uplotCss };

export function dashboard() {
  const filesOf = (files: Readonly<Record<string, string>>, type: string) =>
    Object.entries(files).map(([path, file]) => [`/${path}`, new StaticAsset(Bun.file(file), type)] as const);
  const page = new Blob([dashboardPage(Object.keys(MODULES))]);
  return assetRoutes("dashboard", {
    "/": new StaticAsset(page, HTML, PAGE_HEADERS),
    ...Object.fromEntries([...filesOf(SCRIPTS, JAVASCRIPT), ...filesOf(STYLES, CSS)]),
  });
}

/* What the page shows of counts. */
import { byId } from "./dom.js";
import { count, ratio } from "./format.js";

function metric(name, text, isRate = false) {
  return {
    ...{ text, isRate, of: (sums) => sums[name] },
    get label() {
      return byId(`metric-${name}`).nextElementSibling.textContent;
    },
    /** The label within a sentence. */
    get noun() {
      return isRate ? this.label : this.label.toLowerCase();
    },
  };
}

export const METRICS = {
  clicks: metric("clicks", count),
  impressions: metric("impressions", count),
  ctr: metric("ctr", ratio, true),
  unique_users: metric("unique_users", count),
};

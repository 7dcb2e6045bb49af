/*
 * Loaded by a script element with data-stream="shop" (and data-user="ann"), it counts an impression of each element
 * with data-hourglass-impression once half of it is visible or it fills half of the window, and each click on an
 * element with data-hourglass-click. The attributes' values are streams, by default the script's.
 * Settings (stream, user, url): attributes of the script element, parameters of its URL, or members of the global
 * hourglassSettings. It never throws: the first problem is logged as a warning.
 */
(() => {
  const IMPRESSION = "data-hourglass-impression";
  const CLICK = "data-hourglass-click";
  const OWN_FILE = /\/hourglass\.js(?:[?#]|$)/;
  let hasWarned = false;
  const warn = (problem) => {
    if (!hasWarned) console.warn("hourglass.js:", problem);
    hasWarned = true;
  };
  // An error must never reach the page.
  const safely =
    (act) =>
    (...args) => {
      try {
        return act(...args);
      } catch (error) {
        warn(error);
      }
    };

  // A module has no currentScript, and an imported one has no element.
  const isOwn = ({ src, name }) => OWN_FILE.test(src || name || "");
  const script = document.currentScript || [...document.scripts].find(isOwn);
  const source = script?.src || performance.getEntriesByType("resource").find(isOwn)?.name;
  const setting = (name) =>
    script?.dataset[name] || (source && new URL(source).searchParams.get(name)) || window.hourglassSettings?.[name];
  const service = () => {
    const url = setting("url");
    if (url) return new URL(url.replace(/\/*$/, "/"), document.baseURI);
    if (source) return new URL(".", source);
    throw "set data-url, or hourglassSettings.url: the address of the service is not known";
  };

  const send = safely((event, stream) => {
    const url = new URL("beacon", service());
    const parameters = { event, stream: stream || setting("stream"), user: setting("user") };
    for (const name in parameters) if (parameters[name]) url.searchParams.set(name, parameters[name]);
    if (!navigator.sendBeacon(url)) warn("the browser did not send an event");
  });

  const area = ({ width, height }) => width * height;
  const watched = new WeakSet();
  const seen = safely((entries, observer) => {
    for (const { target, intersectionRatio, intersectionRect, rootBounds } of entries) {
      const fills = rootBounds && area(intersectionRect) > area(rootBounds) / 2;
      if (intersectionRatio < 0.5 && !fills) continue;
      observer.unobserve(target);
      send("impression", target.getAttribute(IMPRESSION));
    }
  });

  let forwarded;
  const clicked = safely((event) => {
    if (event.button > 1) return;
    // The path also leads out of open shadow roots; the documents and windows on it have no attributes.
    const path = event.composedPath();
    const mark = path.find((node) => node.hasAttribute?.(CLICK));
    if (!mark) return;
    // A label forwards its click to its control within the same task, which must not count twice.
    if (forwarded?.mark === mark && forwarded.control === path[0]) {
      // Reset now: in a background page the timer may run a second later.
      forwarded = undefined;
      return;
    }
    const control = path.find((node) => node.localName === "label")?.control;
    if (control && control !== path[0]) {
      forwarded = { mark, control };
      setTimeout(() => {
        forwarded = undefined;
      });
    }
    send("click", mark.getAttribute(CLICK));
  });

  const start = safely(() => {
    const key = Symbol.for("hourglass.js");
    window[key] ??= new Set();
    const services = window[key];
    const name = source || setting("url") || "";
    if (services.has(name)) return warn("it is loaded more than once; only the first counts");
    services.add(name);
    addEventListener("click", clicked, true);
    // A link opened in another tab with the middle button.
    addEventListener("auxclick", clicked, true);
    service();
    const thresholds = Array.from(Array(51), (_, i) => i / 100);
    const observer = new IntersectionObserver(seen, { threshold: thresholds });
    const watch = (element) => {
      if (watched.has(element)) return;
      watched.add(element);
      observer.observe(element);
    };
    const selector = `[${IMPRESSION}]`;
    document.querySelectorAll(selector).forEach(watch);
    // Watches elements that are added later.
    new MutationObserver((records) => {
      for (const { addedNodes } of records) {
        for (const node of addedNodes) {
          if (!node.matches) continue;
          if (node.matches(selector)) watch(node);
          node.querySelectorAll(selector).forEach(watch);
        }
      }
    }).observe(document, { childList: true, subtree: true });
  });
  start();
})();

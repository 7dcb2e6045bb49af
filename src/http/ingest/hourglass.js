/*
 * <script src="https://…/hourglass.js" data-stream="shop" data-user="ann" defer></script>
 * counts an impression of each element with data-hourglass-impression once half of it is seen, or it fills half of
 * the window; and each click on one with data-hourglass-click. Their values are streams; else the script's counts.
 */
(() => {
  const script = document.currentScript;
  const watched = new WeakSet();
  const SELECTOR = "[data-hourglass-impression]";

  const send = (event, stream) => {
    const { dataset, src } = script;
    const url = new URL("beacon", src);
    const parameters = { event, stream: stream || dataset.stream, user: dataset.user };
    for (const name in parameters) if (parameters[name]) url.searchParams.set(name, parameters[name]);
    navigator.sendBeacon(url);
  };

  const area = ({ width, height }) => width * height;

  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, intersectionRatio, intersectionRect, rootBounds } of entries) {
        const fills = rootBounds && area(intersectionRect) > area(rootBounds) / 2;
        if (intersectionRatio < 0.5 && !fills) continue;
        observer.unobserve(target);
        send("impression", target.dataset.hourglassImpression);
      }
    },
    { threshold: Array.from(Array(51), (_, i) => i / 100) },
  );

  const watch = (element) => {
    if (watched.has(element)) return;
    watched.add(element);
    observer.observe(element);
  };

  // What is there, and what comes later.
  document.querySelectorAll(SELECTOR).forEach(watch);
  new MutationObserver((records) => {
    for (const { addedNodes } of records) {
      for (const node of addedNodes) {
        if (!node.matches) continue;
        if (node.matches(SELECTOR)) watch(node);
        node.querySelectorAll(SELECTOR).forEach(watch);
      }
    }
  }).observe(document, { childList: true, subtree: true });

  const clicked = ({ target, button }) => {
    const element = button < 2 && target.closest("[data-hourglass-click]");
    if (element) send("click", element.dataset.hourglassClick);
  };
  addEventListener("click", clicked, true);
  // A link that is opened in another tab with the middle button.
  addEventListener("auxclick", clicked, true);
})();

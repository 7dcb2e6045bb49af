/*
 * Hourglass for web pages:
 *   <script src="https://…/hourglass.js" data-stream="shop" data-user="ann" defer></script>
 * counts an impression of each element with data-hourglass-impression once at least half of it is seen, and each
 * click on one with data-hourglass-click. The attribute's value is the stream; if it has none, the script's is.
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

  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, intersectionRatio } of entries) {
        if (intersectionRatio < 0.5) continue;
        observer.unobserve(target);
        send("impression", target.dataset.hourglassImpression);
      }
    },
    { threshold: 0.5 },
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

/* Sets the theme before the first paint: the user's choice, or else the system's. */
(() => {
  const KEY = "hourglass.theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const ofSystem = () => (system.matches ? "dark" : "light");
  const chosen = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const apply = () => {
    const theme = chosen() ?? ofSystem();
    if (document.documentElement.dataset.theme === theme) return;
    document.documentElement.dataset.theme = theme;
    dispatchEvent(new Event("themechange"));
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", ({ key }) => key === KEY && apply());

  addEventListener("toggletheme", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      // Follow the system again, including later changes of its preference.
      if (next === ofSystem()) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, next);
    } catch {
      document.documentElement.dataset.theme = next;
      dispatchEvent(new Event("themechange"));
    }
    apply();
  });
})();

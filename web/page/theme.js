// A classic script instead of a module, because it must run before the first paint: a dark page would flash otherwise.
(() => {
  const KEY = "densecl-theme";
  const CHOICES = ["auto", "light", "dark"];
  const root = document.documentElement;

  // If storage is not allowed, the choice lasts until the page is closed.
  let stored = null;
  try {
    stored = localStorage.getItem(KEY);
  } catch {
    stored = null;
  }
  let choice = CHOICES.includes(stored) ? stored : "auto";

  const apply = () => {
    root.dataset.theme = choice;
    const button = document.getElementById("theme");
    if (button) {
      button.textContent = { auto: "◐", light: "☀", dark: "☾" }[choice];
      button.setAttribute("aria-label", `Colours: ${choice}. Change`);
      button.title = `Colours: ${choice}`;
    }
  };

  apply();
  addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
      try {
        localStorage.setItem(KEY, choice);
      } catch {
        // Storage is not allowed: the choice lasts until the page is closed.
      }
      apply();
    });
  });
})();

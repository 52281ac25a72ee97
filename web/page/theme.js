// Before the first paint, so that a page that was left dark does not flash: a classic script, not a module.
(() => {
  const KEY = "densecl-theme";
  const CHOICES = ["auto", "light", "dark"];
  const root = document.documentElement;

  // Storage may be forbidden; then the choice lasts as long as the page.
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
        // Nothing to do: it holds until the page is left.
      }
      apply();
    });
  });
})();

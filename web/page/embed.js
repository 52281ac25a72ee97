/** The element in a page, live, and the lines that put it there. */
import { byId, element } from "./dom.js";

const ATTRIBUTES = {
  "src-a": "page/pictures/a.jpg",
  "src-b": "page/pictures/b.jpg",
  view: "heatmap",
};

/** Shows the snippet at once; the element's module is fetched when the section comes near. */
export function startEmbed() {
  const attributes = Object.entries(ATTRIBUTES).map(([name, value]) => `  ${name}="${value}"`).join("\n");
  byId("snippet").textContent =
    `<script type="module" src="dense-match/dense-match.js"></script>\n<dense-match\n${attributes}\n></dense-match>`;

  const place = byId("embedded");
  const observer = new IntersectionObserver(async ([entry]) => {
    if (!entry.isIntersecting) return;
    observer.disconnect();
    try {
      await import("../dense-match/dense-match.js");
      place.replaceChildren(element("dense-match", ATTRIBUTES));
    } catch {
      const words = "The element's script did not arrive. Load the page again to see it.";
      place.replaceChildren(element("p", { class: "hint" }, words));
    }
  }, { rootMargin: "300px" });
  observer.observe(place);
}

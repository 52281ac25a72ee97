// A page with `<dense-match>` elements, and a visitor's actions on them.
import { reference } from "./bundle.js";
import { look } from "./eyes.js";

const GAP = 8; // CSS pixels between the two pictures

const quoted = (text) => String(text).replaceAll("&", "&amp;").replaceAll('"', "&quot;");

/** The HTML of an element with these attributes. */
export function tag(attributes, content = "") {
  const text = Object.entries(attributes).map(([name, value]) => `${name}="${quoted(value)}"`).join(" ");
  return `<dense-match ${text}>${content}</dense-match>`;
}

/** Serves the pictures `shipped-a.png`, … that reference.rs wrote as `/a.png` and `/b.png`. */
export function putPair(site, name = "shipped") {
  for (const side of ["a", "b"]) site.put(`/${side}.png`, reference(`${name}-${side}.png`));
}

/** Attributes of an element with the included weights and the pictures of `putPair`. */
export const ORDINARY = {
  "src-a": "/a.png",
  "src-b": "/b.png",
  weights: "/package/weights/densecl_r18_photos/manifest.json",
  loading: "eager",
};

/**
 * Opens a page with elements and records all events they send.
 * @param {import("playwright-core").Page} page
 * @param {import("./site.js").Site} site
 * @param {string} body HTML
 * @param {{script?: string, file?: string}} options `script`: URL of the package's module
 */
export async function openWidgets(page, site, body, { script = "/package/dense-match.js", file = "/page.html" } = {}) {
  await page.addInitScript(() => {
    globalThis.heard = [];
    for (const type of ["load", "progress", "match", "error", "devicechange"]) {
      const hear = (event) => {
        if (event.target.localName !== "dense-match") return;
        const { matches, pair, ...detail } = event.detail ?? {};
        globalThis.heard.push({ type, id: event.target.id, detail });
      };
      // The capturing phase also reaches events that do not bubble.
      document.addEventListener(type, hear, true);
    }
  });
  site.html(file, body, { head: `<script type="module" src="${script}"></script>` });
  await page.goto(site.url(file));
}

/** Makes the worker run `script` before the package's worker script. */
export async function beforeWorker(site, script) {
  site.put("/package/worker-itself.js", await site.read("/package/worker.js"));
  site.put("/package/before.js", script);
  site.put("/package/worker.js", 'import "./before.js";\nimport "./worker-itself.js";\n');
}

/** The details of all events of one type so far, of one element or of all. */
export const heard = (page, type, id) =>
  page.evaluate(
    ([type, id]) => globalThis.heard.filter((e) => e.type === type && (id === undefined || e.id === id)).map((e) => e.detail),
    [type, id],
  );

/**
 * Waits for event number `count` of a type and returns its detail. Fails at an error event, except for the
 * first `despite` of them, which the case expects.
 */
export async function hear(page, type, { id, count = 1, despite = 0, timeout = 30_000 } = {}) {
  await page.waitForFunction(
    ([type, id, count, despite]) => {
      const number = (wanted) =>
        globalThis.heard.filter((e) => e.type === wanted && (id === undefined || e.id === id)).length;
      return number(type) >= count || (type !== "error" && number("error") > despite);
    },
    [type, id, count, despite],
    { timeout },
  );
  const details = await heard(page, type, id);
  if (details.length >= count) return details[count - 1];
  throw new Error(`no ${type}, but an error: ${JSON.stringify((await heard(page, "error", id)).at(-1))}`);
}

/** One element as a visitor uses it. */
export class Widget {
  constructor(page, selector = "dense-match") {
    this.page = page;
    this.element = page.locator(selector);
  }

  part(name) {
    return this.element.locator(`[part~="${name}"]`).first();
  }

  get stage() {
    return this.part("stage");
  }

  /** The text that a screen reader reads out. */
  spoken() {
    return this.element.locator("[aria-live]").first();
  }

  /** The position of (u, v) of picture "a" or "b" in the stage, for two equal pictures side by side. */
  async place(side, [u, v]) {
    const { width, height } = await this.stage.boundingBox();
    const each = (width - GAP) / 2;
    return { x: (side === "a" ? 0 : each + GAP) + u * each, y: v * height };
  }

  /** Removes the match, so that both pictures are shown without overlays. */
  async clear() {
    await this.stage.focus();
    await this.page.keyboard.press("Escape");
    await this.part("readout").getByText(/Point at|Tap/).waitFor();
  }

  async point(side, position) {
    await this.stage.hover({ position: await this.place(side, position) });
  }

  /** The colours on the screen at positions [side, [u, v]]. */
  async colors(places) {
    const seen = await look(this.stage);
    const { width, height } = await this.stage.boundingBox();
    return Promise.all(
      places.map(async ([side, position]) => {
        const { x, y } = await this.place(side, position);
        return seen.at(x / width, y / height);
      }),
    );
  }
}

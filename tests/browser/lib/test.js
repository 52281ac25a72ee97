// `test`: a case with what it needs (sites, visitors), all of it closed afterwards. A case also fails
// when a page throws, logs an error or breaks its policy without the case having said so.
import { test as nodeTest, after } from "node:test";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { browser, closeBrowsers } from "./browser.js";
import { openSite, ROOT } from "./site.js";

const TIMEOUT_MS = 180_000; // of a case; SwiftShader on a busy machine needs 40 s for one
const ACTION_MS = 30_000;

const chosen = process.env.DENSECL_BROWSER_ONLY ? new Set(JSON.parse(process.env.DENSECL_BROWSER_ONLY)) : null;
const listing = process.env.DENSECL_BROWSER_LIST === "1";
const failures = path.join(process.env.DENSECL_BROWSER_FIXTURES ?? path.join(ROOT, "target/tmp/browser"), "failures");

/** What a case gets. */
class Visit {
  #closing = [];
  #pages = [];
  #fail;
  /** Rejects when a page throws: waiting for what will not come then helps nobody. */
  thrown = new Promise((_, reject) => (this.#fail = reject));

  /** A site on a port of its own. */
  async site(options) {
    const site = await openSite(options);
    this.#closing.push(() => site.close());
    return site;
  }

  /**
   * A new visitor with an empty profile, looking at an empty page.
   *
   * @param {{browser?: "plain" | "webgpu", tolerate?: RegExp, [context: string]: unknown}} options
   *   `tolerate`: errors that belong to the case; the rest goes to Playwright's context
   * @returns {Promise<import("playwright-core").Page>}
   */
  async visitor({ browser: kind = "plain", ...options } = {}) {
    const started = await browser(kind);
    const context = await started.newContext({ viewport: { width: 1000, height: 800 }, ...options });
    this.#closing.push(() => context.close());
    return this.tab(context, options);
  }

  /** Another tab of the same visitor. */
  async tab(context, { tolerate } = {}) {
    context.setDefaultTimeout(ACTION_MS);
    const page = await context.newPage();
    const errors = [];
    const note = (text) => {
      if (tolerate?.test(text)) return false;
      errors.push(text);
      return true;
    };
    page.on("pageerror", (error) => {
      if (note(`uncaught: ${error.stack ?? error}`)) this.#fail(new Error("the page threw"));
    });
    page.on("console", (message) => {
      if (message.type() === "error") note(`console: ${message.text()} (${message.location().url})`);
    });
    this.#pages.push({ page, errors });
    return page;
  }

  /** @internal */
  unexpected() {
    return this.#pages.flatMap(({ errors }) => errors);
  }

  /** @internal */
  async picture(name) {
    mkdirSync(failures, { recursive: true });
    const file = path.join(failures, name.replace(/[^\w]+/g, "-"));
    for (const [index, { page }] of this.#pages.entries()) {
      await page.screenshot({ path: `${file}-${index}.png`, timeout: 5000 }).catch(() => {});
    }
    return file;
  }

  /** @internal */
  async close() {
    for (const close of this.#closing.reverse()) await close();
  }
}

/**
 * A case that needs no browser.
 * @param {string} name a sentence that is true
 * @param {() => unknown} body
 */
export function unit(name, body) {
  if (listing) console.log(`${name}: test`);
  else if (!chosen || chosen.has(name)) nodeTest(name, { timeout: TIMEOUT_MS }, body);
}

/**
 * @param {string} name a sentence that is true
 * @param {(visit: Visit) => Promise<void>} body
 */
export function test(name, body) {
  unit(name, async () => {
    const visit = new Visit();
    visit.thrown.catch(() => {});
    try {
      const running = body(visit);
      running.catch(() => {}); // when the page threw first, it fails as its page is closed
      await Promise.race([running, visit.thrown]);
      if (visit.unexpected().length) throw new Error("the page reported errors that the case did not ask for");
    } catch (error) {
      const file = await visit.picture(name);
      const logged = visit.unexpected().map((line) => `\n  ${line}`).join("");
      const said = `screenshots: ${file}-*.png${logged && `\nthe page said:${logged}`}`;
      throw new Error(`${error.message}\n${said}`, { cause: error });
    } finally {
      await visit.close();
    }
  });
}

if (!listing) after(closeBrowsers);

// `test` runs a case, provides sites and visitors for it and closes them afterwards. A case also fails if a
// page throws, logs an error or violates its policy, unless the case tolerates that error.
import { test as nodeTest, after } from "node:test";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { browser, closeBrowsers } from "./browser.js";
import { openSite, ROOT } from "./site.js";

const TIMEOUT_MS = 180_000; // for a case; with SwiftShader on a busy machine a case takes up to 40 s
const ACTION_MS = 30_000;

const chosen = process.env.DENSECL_BROWSER_ONLY ? new Set(JSON.parse(process.env.DENSECL_BROWSER_ONLY)) : null;
const listing = process.env.DENSECL_BROWSER_LIST === "1";
const failures = path.join(process.env.DENSECL_BROWSER_FIXTURES ?? path.join(ROOT, "target/tmp/browser"), "failures");

/** The object passed to a case: opens sites and visitors, and closes them at the end. */
class Visit {
  #closing = [];
  #pages = [];
  #fail;
  /** Rejects as soon as a page throws, so that the case does not wait for an event that will never come. */
  thrown = new Promise((_, reject) => (this.#fail = reject));

  /** Calls `close` at the end of the case. */
  later(close) {
    this.#closing.push(close);
  }

  /** Opens a site on its own port. */
  async site(options) {
    const site = await openSite(options);
    this.#closing.push(() => site.close());
    return site;
  }

  /**
   * Opens an empty page for a new visitor with an empty profile.
   *
   * @param {{browser?: "plain" | "webgpu", tolerate?: RegExp, [context: string]: unknown}} options
   *   `tolerate`: errors that the case expects; other options are passed to Playwright's context
   * @returns {Promise<import("playwright-core").Page>}
   */
  async visitor({ browser: kind = "plain", ...options } = {}) {
    const started = await browser(kind);
    const context = await started.newContext({ viewport: { width: 1000, height: 800 }, ...options });
    this.#closing.push(() => context.close());
    return this.tab(context, options);
  }

  /** Opens another tab for the same visitor. */
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
 * @param {string} name what is tested, as a sentence
 * @param {() => unknown} body
 * @param {number} timeout in milliseconds
 */
export function unit(name, body, timeout = TIMEOUT_MS) {
  if (listing) console.log(`${name}: test`);
  else if (!chosen || chosen.has(name)) nodeTest(name, { timeout }, body);
}

/**
 * @param {string} name what is tested, as a sentence
 * @param {(visit: Visit) => Promise<void>} body
 * @param {number} [timeout] in milliseconds, for a case that needs longer than others
 */
export function test(name, body, timeout) {
  unit(name, async () => {
    const visit = new Visit();
    visit.thrown.catch(() => {});
    try {
      const running = body(visit);
      running.catch(() => {}); // closing a page that threw rejects the case as well, unhandled without this
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
  }, timeout);
}

if (!listing) after(closeBrowsers);

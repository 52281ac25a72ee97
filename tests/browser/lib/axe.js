// Checks a page with axe-core: names, roles, contrast, and what else can be found without a person.
import { readFileSync } from "node:fs";

let source = null;

/**
 * Fails if axe finds a violation in the page, or in the part that a selector names.
 * @param {import("playwright-core").Page} page
 */
export async function accessible(page, selector = "main") {
  source ??= readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
  // The page's policy forbids scripts of others; what a debugger evaluates is not under it.
  await page.evaluate(source);
  const violations = await page.evaluate(async (selector) => {
    const { violations } = await globalThis.axe.run(selector, { resultTypes: ["violations"] });
    return violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map(({ html }) => html).join("\n  ")}`);
  }, selector);
  if (violations.length) throw new Error(`axe found:\n${violations.join("\n")}`);
}

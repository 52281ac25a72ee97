// Makes a screenshot of the demo page for the documents: drops two pictures on it, or shows a scene, and points at the
// first picture.
//
//   node tests/browser/screenshot.js --a A.jpg --b B.jpg --at 0.5,0.4 --out page.png \
//     [--hash 'view=heatmap&weights=trained+untrained'] [--width 1180] [--whole]
//
// The page in dist/ must have been built by `trunk build --release`.
import { readFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { browser, closeBrowsers } from "./lib/browser.js";
import { openSite } from "./lib/site.js";

const { values: options } = parseArgs({
  options: {
    a: { type: "string" },
    b: { type: "string" },
    at: { type: "string", default: "0.5,0.5" },
    out: { type: "string", default: "page.png" },
    hash: { type: "string", default: "weights=trained+untrained" },
    width: { type: "string", default: "1180" },
    height: { type: "string", default: "900" },
    whole: { type: "boolean", default: false },
  },
});

const site = await openSite({ csp: null });
try {
  const context = await (await browser("plain")).newContext({
    viewport: { width: Number(options.width), height: Number(options.height) },
    deviceScaleFactor: 1.5,
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  await page.goto(site.url(`/demo/#pair=scene.6&${options.hash}`));
  const figures = page.locator(".panel:visible");
  await figures.last().getByText("PCK@0.1", { exact: true }).waitFor({ timeout: 120_000 });
  if (options.a && options.b) {
    const given = [options.a, options.b].map((file) => [path.basename(file), readFileSync(file).toString("base64")]);
    const transfer = await page.evaluateHandle((given) => {
      const transfer = new DataTransfer();
      for (const [name, base64] of given) {
        transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name, { type: "image/jpeg" }));
      }
      return transfer;
    }, given);
    for (const type of ["dragenter", "dragover", "drop"]) {
      await page.dispatchEvent("main", type, { dataTransfer: transfer, bubbles: true, cancelable: true });
    }
    await page.waitForFunction(() => !document.querySelector(".panel")?.innerText.includes("PCK@0.1"), null, { timeout: 60_000 });
    await page.locator("#timings").getByText(/similarities/).waitFor({ timeout: 60_000 });
    await page.waitForTimeout(3000); // until both columns are computed and faded in
  }
  const [u, v] = options.at.split(",").map(Number);
  const canvas = page.locator("canvas.pictures").first();
  const { width, height } = await canvas.boundingBox();
  // In a wide canvas the first picture is left of the second, otherwise above it.
  const [w, h] = width > height ? [(width - 10) / 2, height] : [width, (height - 10) / 2];
  await canvas.hover({ position: { x: u * w, y: v * h } });
  await page.waitForTimeout(1500);
  const part = options.whole ? page : page.locator("#stage");
  await part.screenshot({ path: options.out });
} finally {
  await closeBrowsers();
  await site.close();
}

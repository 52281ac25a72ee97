// Makes the picture of a training for the documents: the matches of a pair by the network before the training in the
// page, and after some of its steps. Not a test.
//
//   node tests/browser/strip.js --out docs/images/web-train.jpg [--steps 25,100,220] [--hash 'pair=scene.6&stride=16']
//
// The page in dist/ must have been built by `trunk build --release`. Takes as long as the training, some minutes.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { browser, closeBrowsers } from "./lib/browser.js";
import { openSite } from "./lib/site.js";

const { values: options } = parseArgs({
  options: {
    out: { type: "string", default: "web-train.jpg" },
    steps: { type: "string", default: "25,100,220" },
    hash: { type: "string", default: "pair=scene.6&feature=stage3+stage4&stride=16&threshold=0.60" },
  },
});

const site = await openSite({ csp: null });
try {
  const context = await (await browser("plain")).newContext({
    viewport: { width: 1280, height: 900 }, deviceScaleFactor: 1.25, reducedMotion: "reduce",
  });
  const page = await context.newPage();
  await page.goto(site.url(`/demo/#${options.hash}&view=matches&mode=train`));
  await page.getByRole("button", { name: "Start training" }).click();
  const column = (index) => page.locator(".panel").nth(index);
  await column(1).getByText(/\d+\s*right/).waitFor({ timeout: 300_000 });

  /** The picture of a column, and how many of its matches are right. */
  const shot = async (index, title) => {
    const words = await column(index).locator(".reading").innerText();
    const [, right, wrong] = /(\d+)\s*right\s*(\d+)\s*wrong/.exec(words).map(Number);
    const picture = await column(index).locator("canvas.pictures").evaluate((canvas) => canvas.toDataURL());
    return { picture, title, right, wrong };
  };
  const shots = [await shot(0, "before the training")];
  for (const step of options.steps.split(",").map(Number)) {
    // The name of the weights says after how many steps they were taken.
    let taken = 0;
    while (taken < step) {
      await page.waitForTimeout(200);
      const name = await column(1).locator(".weights-name").innerText();
      taken = Number((/([\d,]+) steps? of/.exec(name)?.[1] ?? "0").replaceAll(",", ""));
      if (await page.getByText("The training cannot go on").isVisible()) throw new Error("the training failed");
    }
    await page.waitForTimeout(500); // the matches come after the name
    shots.push(await shot(1, `after ${taken} steps`));
  }

  const blank = await context.newPage();
  await blank.goto(site.html("/strip.html", ""));
  const jpeg = await blank.evaluate(async (shots) => {
    const pictures = await Promise.all(shots.map(async ({ picture }) => createImageBitmap(await (await fetch(picture)).blob())));
    const [{ width, height }] = pictures;
    const [gap, caption] = [16, 34];
    const rows = Math.ceil(shots.length / 2);
    const canvas = new OffscreenCanvas(2 * width + 3 * gap, rows * (height + caption) + (rows + 1) * gap);
    const context = canvas.getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    shots.forEach(({ title, right, wrong }, index) => {
      const [x, y] = [gap + (index % 2) * (width + gap), gap + Math.floor(index / 2) * (height + caption + gap)];
      context.fillStyle = "#1d1f21";
      context.font = "600 20px sans-serif";
      context.fillText(title, x, y + 20);
      const told = `${right} of ${right + wrong} matches right`;
      context.font = "20px sans-serif";
      context.fillText(told, x + width - context.measureText(told).width, y + 20);
      context.drawImage(pictures[index], x, y + caption);
    });
    const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/jpeg", quality: 0.88 })).arrayBuffer());
    return Array.from(bytes);
  }, shots);
  writeFileSync(options.out, Buffer.from(jpeg));
} finally {
  await closeBrowsers();
  await site.close();
}

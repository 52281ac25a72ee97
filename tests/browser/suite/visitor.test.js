// A visitor of the demo page who trains a network: the page, the training module, the engine and the program together.
// The settings are small, so that a training takes seconds.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { accessible } from "../lib/axe.js";
import { CALM, Demo } from "../lib/demo.js";
import { landscapePng, notAnImage } from "../lib/pictures.js";
import { PROGRAM } from "../lib/program.js";
import { test } from "../lib/test.js";
import { TINY } from "../lib/training.js";

/** A narrow network that matches twice as many cells after 60 steps. */
const NARROW = [
  "model.width=8", "data.scene_count=64", "eval.pairs=12", "log.every_steps=5", "views.size=64", "scenes.size=128",
];

/** Opens the page's mode "Train" with a training that has these settings, whatever the visitor chooses. */
async function trainer(visit, { set, steps, ...visitor }) {
  const site = await visit.site();
  site.put("/demo/dense-match/training-itself.js", await site.read("/demo/dense-match/training.js"));
  site.put("/demo/dense-match/training.js", `
    import { Training as Itself } from "./training-itself.js";
    export class Training extends Itself {
      start(source, settings) {
        return super.start(source, { ...settings, steps: ${steps}, set: ${JSON.stringify(set)} });
      }
    }`);
  const page = await visit.visitor({ ...CALM, ...visitor });
  await page.goto(site.url("/demo/#mode=train"));
  await button(page, "Start training").waitFor();
  return { site, page, demo: new Demo(page), headline: page.locator(".run h2"), columns: page.locator(".panel") };
}

const button = (page, name) => page.getByRole("button", { name, exact: true });

/** Waits for a headline; fails at once if the training has failed. */
async function until(headline, text, timeout = 90_000) {
  const failed = headline.getByText("The training cannot go on");
  await headline.getByText(text).or(failed).waitFor({ timeout });
  if (await failed.isVisible()) throw new Error(await headline.locator("..").innerText());
}

test("a visitor trains on scenes until more is matched, and takes the weights along", async (visit) => {
  const { page, demo, headline, columns } = await trainer(visit, { set: NARROW, steps: 60 });
  await button(page, "Start training").click();
  await until(headline, /Training: step \d+ of 60/);
  await columns.nth(0).getByText("Before", { exact: true }).waitFor();
  await columns.nth(1).getByText("PCK@0.1", { exact: true }).waitFor();
  await button(page, "Pause").click();
  await until(headline, /Paused at step \d+ of 60/);
  await page.getByText(/Kept in this browser at step \d+/).waitFor();
  const paused = await headline.innerText();
  await button(page, "Go on").click();
  await until(headline, "Trained for 60 steps");
  assert.notEqual(paused, "Paused at step 60 of 60");

  const result = await page.locator(".result").innerText();
  const [, before, after] = /before\s+([\d.]+) %[^]*after 60 steps\s+([\d.]+) %/.exec(result).map(Number);
  assert.ok(after > 1.5 * before, `${before} % before, ${after} % after`);
  await columns.nth(1).getByText(/60 steps of DenseCL/).waitFor();
  await accessible(page);

  const [download] = await Promise.all([page.waitForEvent("download"), button(page, "Save weights").click()]);
  const weights = await download.path();
  // The page itself reads them, beside the included ones.
  await page.locator("#modes label", { hasText: /^\s*Match\s*$/ }).click();
  await demo.drop(["mine.safetensors", "", await readFile(weights)]);
  await columns.nth(1).getByText("mine.safetensors").waitFor();
  await columns.nth(1).getByText("PCK@0.1", { exact: true }).waitFor();
  // And the program does.
  const pictures = [`${weights}-a.png`, `${weights}-b.png`];
  for (const picture of pictures) await writeFile(picture, landscapePng(96, 96));
  const named = `${weights}.safetensors`;
  await download.saveAs(named);
  await promisify(execFile)(PROGRAM, ["match", ...pictures, "--weights", named, "--out", `${weights}.png`, "--device", "cpu"]);
});

test("a visitor trains on twenty dropped photographs, one of them corrupt", async (visit) => {
  const { page, demo, headline } = await trainer(visit, { set: TINY, steps: 8 });
  const photographs = Array.from({ length: 20 }, (_, index) =>
    [`photo-${index}.png`, "image/png", index === 7 ? notAnImage() : landscapePng(48, 40, index)]);
  await demo.drop(...photographs);
  await page.getByText("20 photographs chosen.").waitFor();
  await page.getByLabel("MoCo v2").check();
  await button(page, "Start training").click();
  await until(headline, "Trained for 8 steps");
  assert.match(await page.locator(".facts").innerText(), /MoCo v2/);
  assert.match(await page.locator(".notes").innerText(), /It learns from 1\d photographs[^]*1 file could not be read/);
  await page.getByText("1 file left out").click();
  await page.locator(".refused li").getByText(/^photo-7\.png: /).waitFor();
  await button(page, "Go on").click();
  await until(headline, "Trained for 16 steps");
});

test("a visitor reloads the page in the middle of a training and goes on", async (visit) => {
  const { page, headline, columns } = await trainer(visit, { set: TINY, steps: 4000 });
  await button(page, "Start training").click();
  await until(headline, /Training: step [1-9]\d* of 4,000/);
  await button(page, "Pause").click();
  const kept = page.getByText(/Kept in this browser at step [\d,]+/);
  await kept.waitFor();
  const [, step] = /step ([\d,]+)/.exec(await kept.innerText());
  await page.reload();
  await page.getByText(`step ${step} of 4,000 on 8 scenes`).waitFor();
  await button(page, "Go on with it").click();
  await until(headline, /Training: step [\d,]+ of 4,000/);
  await columns.nth(0).getByText("Before", { exact: true }).waitFor();
  // The rows from before the reload are there.
  const words = await page.getByRole("img").first().getAttribute("aria-label");
  assert.match(words, /Loss up to step [\d,]+: total/);
  await button(page, "Stop and measure").click();
  await until(headline, /Trained for [\d,]+ steps/);
  assert.match(await page.locator(".result").innerText(), /before\s+[\d.]+ %[^]*after [\d,]+ steps/);
});

// The page's mode "Train", with a training that a test drives (lib/fake-training.js): every state, also the rare ones.
// The training itself is tested elsewhere.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { accessible } from "../lib/axe.js";
import { reference } from "../lib/bundle.js";
import { CALM, Demo, horizontalOverflow, SCENE } from "../lib/demo.js";
import { landscapePng } from "../lib/pictures.js";
import { test } from "../lib/test.js";

const FIGURES = [
  { name: "loss", label: "total", panel: "loss" },
  { name: "loss_dense", label: "dense", panel: "loss" },
  { name: "chance_loss", label: "chance", panel: "loss-reference" },
];
const RUN = {
  step: 0, totalSteps: 200, stepsPerEpoch: 64, batchSize: 16, images: 1024, heldOut: 0, refused: [], leftOut: 0,
  source: "scenes", objective: "quickstart", words: "", settings: "", figures: FIGURES,
};
const MEASURED = {
  step: 0, accuracy: 0.269, mirrored: 0.077, chance: 0.012, same_place: 0.145, cells: 18937, pairs: 100,
};
const row = (step) => ({
  step, loss: 12 - step / 50, loss_dense: 6 - step / 100, chance_loss: 6.24,
  correspondence_accuracy: 0.2 + step / 1000, correspondence_chance: 0.05, correspondence_same_place: 0.18,
});

/** Opens the mode "Train". `stored`: a run of an earlier visit. */
async function training(visit, { stored = null, ...visitor } = {}) {
  const site = await visit.site();
  site.put("/demo/dense-match/training.js", await readFile(new URL("../lib/fake-training.js", import.meta.url)));
  const page = await visit.visitor({ ...CALM, ...visitor });
  await page.addInitScript((stored) => (globalThis.storedRun = stored), stored);
  await page.goto(site.url("/demo/#mode=train"));
  await page.getByRole("button", { name: "Start training" }).waitFor();
  const tiny = reference("tiny.safetensors").toString("base64");
  return {
    site, page, demo: new Demo(page), headline: page.locator(".run h2"), columns: page.locator(".panel"),
    calls: () => page.evaluate(() => globalThis.training.calls),
    /** Changes the state of the training. */
    turn: (...given) => page.evaluate((given) => globalThis.training.turn(...given), given),
    /** Sends an event of the training. */
    tell: (...given) => page.evaluate((given) => globalThis.training.tell(...given), given),
    /** Begins the run: `started`, the first weights, the first rows. */
    async begin(run = {}, steps = [5, 10, 120]) {
      await page.evaluate(([run, rows, tiny]) => {
        const { training } = globalThis;
        const weights = new Blob([Uint8Array.from(atob(tiny), (c) => c.charCodeAt(0))]);
        training.tell("started", { run, untrained: weights, device: { kind: "cpu", name: "" } });
        training.turn("running");
        training.weights.replace(weights);
        const { step } = rows.at(-1);
        training.tell("row", { rows, step });
        training.tell("step", {}, { step, totalSteps: 200, imagesPerSecond: 88.4, seconds: 30, secondsLeft: 75 });
      }, [{ ...RUN, ...run }, steps.map(row), tiny]);
    },
  };
}

const button = (page, name) => page.getByRole("button", { name, exact: true });

test("a visit without training asks for nothing of it", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor(CALM);
  await page.goto(site.url("/demo/"));
  await new Demo(page).ready({ truth: false });
  assert.equal(site.count(/\/page\/train\/|training|live-weights|densecl_train/), 0);
  await page.locator("#modes label", { hasText: "Watch a run" }).click();
  await button(page, "Watch").waitFor();
  assert.ok(site.count(/\/page\/train\/watch\.js/) === 1);
  assert.equal(site.count(/training\.js|densecl_train/), 0, "to watch needs no training module");
});

test("a training on scenes is started, seen, paused, ended and saved", async (visit) => {
  const { page, headline, columns, begin, turn, calls } = await training(visit);
  await accessible(page);
  await page.getByLabel("MoCo v2").check();
  await button(page, "Start training").click();
  assert.deepEqual(await calls(), [["start", { files: "scenes", settings: { objective: "mocov2" } }]]);
  await headline.getByText("Fetching the training module").waitFor();
  // The button that had the focus is gone.
  assert.equal(await headline.evaluate((node) => document.activeElement === node), true);
  await begin();
  await headline.getByText("Training: step 120 of 200").waitFor();
  const facts = await page.locator(".facts").innerText();
  assert.match(facts, /images a second\s+88\s[^]*left\s+1 min 15 s/);
  const inWords = (index) => page.getByRole("img").nth(index).getAttribute("aria-label");
  assert.match(await inWords(0), /Loss up to step 120: total 11\.9 at first, 9\.60 now/);
  assert.match(await inWords(1), /matches 20\.5 % at first, 32\.0 % now; same place 18\.0 %/);
  for (const [index, name] of [[0, "Before"], [1, "Now"]]) {
    await columns.nth(index).getByText(name, { exact: true }).waitFor();
    await columns.nth(index).getByText("PCK@0.1", { exact: true }).waitFor();
  }
  assert.equal(await page.locator("#network").isVisible(), false);
  await accessible(page);

  await button(page, "Pause").click();
  await headline.getByText("Paused at step 120 of 200").waitFor();
  await page.locator("#training [aria-live]").getByText("Paused at step 120 of 200.").waitFor({ state: "attached" });
  await button(page, "Go on").click();
  await headline.getByText("Training: step 120").waitFor();
  await button(page, "Stop and measure").click();
  await headline.getByText("Measuring what was learned").waitFor();
  await turn("ended", { step: 120, before: MEASURED, after: { ...MEASURED, step: 120, accuracy: 0.376 } });
  await page.getByText("What it learned").waitFor();
  assert.match(await page.locator(".result").innerText(), /before\s+26\.9 %\s+7\.7 %\s+after 120 steps\s+37\.6 %/);
  await accessible(page);
  const [download] = await Promise.all([page.waitForEvent("download"), button(page, "Save weights").click()]);
  assert.equal(download.suggestedFilename(), "weights.safetensors");
  assert.deepEqual(await readFile(await download.path()), reference("tiny.safetensors"));
  await button(page, "Go on").click();
  await headline.getByText("Training: step 120").waitFor();
  assert.deepEqual((await calls()).slice(1).map(([name]) => name), ["pause", "goOn", "stop", "save", "goOn"]);
});

test("the columns follow the weights, and keep what they show until there is more", async (visit) => {
  const { page, columns, begin } = await training(visit);
  await button(page, "Start training").click();
  await begin();
  await columns.nth(1).getByText(/cosine/).waitFor();
  // Whether the match ever disappears while weights are replaced.
  await page.evaluate(() => {
    const reading = document.querySelectorAll(".panel .reading")[1];
    globalThis.blanks = 0;
    new MutationObserver(() => (globalThis.blanks += reading.textContent.includes("cosine") ? 0 : 1))
      .observe(reading, { childList: true, subtree: true, characterData: true });
  });
  const untrained = async () => columns.nth(1).locator(".weights-name").innerText();
  assert.match(await untrained(), /random weights/);
  for (let replaced = 0; replaced < 3; replaced++) {
    const before = await page.locator("#timings").innerText();
    await page.evaluate(() => globalThis.training.weights.replace(new Blob([globalThis.training.weights.current])));
    await page.waitForFunction((before) => document.getElementById("timings").innerText !== before, before);
  }
  assert.equal(await page.evaluate(() => globalThis.blanks), 0);
  // Leaving the mode brings back the visitor's own weights; coming back shows the training again.
  await page.locator("#modes label", { hasText: /^\s*Match\s*$/ }).click();
  await columns.nth(0).getByText("Trained", { exact: true }).waitFor();
  assert.equal(await columns.nth(1).isVisible(), false);
  await page.locator("#modes label", { hasText: "Train" }).click();
  await columns.nth(1).getByText("Now", { exact: true }).waitFor();
});

test("dropped photographs are trained on, and those that cannot be read are named", async (visit) => {
  const { page, demo, begin, calls } = await training(visit);
  const names = Array.from({ length: 20 }, (_, index) => `photo-${String(index).padStart(2, "0")}.png`);
  const picture = landscapePng(32, 32);
  await demo.drop(...names.map((name) => [name, "image/png", picture]).reverse(), ["notes.txt", "text/plain", "hello"]);
  await page.getByText("20 photographs chosen. 1 other file is passed over.").waitFor();
  assert.equal(await page.getByLabel("your own photographs").isChecked(), true);
  await button(page, "Start training").click();
  assert.deepEqual((await calls()).at(-1), ["start", { files: names, settings: { objective: "quickstart" } }]);
  const refused = [{ name: "photo-07.png", reason: "it is damaged" }];
  await begin({ source: "pictures", images: 18, heldOut: 1, refused });
  await page.getByText("It learns from 18 photographs; 1 other is kept for the measurement.").waitFor();
  await page.getByText("1 file left out").click();
  await page.getByText("photo-07.png: it is damaged").waitFor();
  // While a training goes on, two pictures are a pair to look at, and many are refused.
  await demo.drop(...names.map((name) => [name, "image/png", picture]));
  await demo.notice.getByText(/A training goes on/).waitFor();
});

test("too few photographs are refused before anything is fetched", async (visit) => {
  const { page, demo, calls } = await training(visit);
  await page.getByLabel("your own photographs").check();
  await button(page, "Start training").click();
  await page.getByRole("alert").getByText("A training needs at least 16 photographs; none is chosen.").waitFor();
  await demo.drop(...["a", "b", "c"].map((name) => [`${name}.png`, "image/png", landscapePng(32, 32)]));
  await page.getByRole("alert").getByText("at least 16 photographs; 3 are chosen").waitFor();
  await button(page, "Start training").click();
  assert.deepEqual(await calls(), []);
  await accessible(page, "#training");
});

test("a training of an earlier visit is offered, and can be deleted", async (visit) => {
  const stored = {
    step: 340, totalSteps: 1200, source: "pictures", images: 60, objective: "densecl", time: Date.now() - 600_000,
  };
  const { page, headline, calls, turn } = await training(visit, { stored });
  const offer = page.getByText(/kept in this browser, from 10 minutes ago: step 340 of 1,200 on 60 photographs/);
  await offer.waitFor();
  await accessible(page, "#training");
  await button(page, "Go on with it").click();
  await headline.getByText("Fetching the training module").waitFor();
  assert.equal((await calls())[0][0], "resume");
  await turn("preparing");
  await button(page, "Start anew").click();
  await offer.waitFor();
  assert.equal(await button(page, "Start training").evaluate((node) => document.activeElement === node), true);
  await button(page, "Delete it").click();
  await offer.waitFor({ state: "hidden" });
});

test("whether a reload loses the training is said", async (visit) => {
  const { page, begin, tell } = await training(visit);
  await button(page, "Start training").click();
  await begin();
  await tell("kept", { kept: { step: 100, where: "storage", reason: "" } });
  await page.getByText("Kept in this browser at step 100: after a reload you can go on from there.").waitFor();
  await tell("kept", { kept: { step: 110, where: "page", reason: "this browser allows the page no storage" } });
  await page.getByText(/Nothing is kept, because this browser allows the page no storage: a reload loses/).waitFor();
});

test("a training that fails says why, and keeps its curves and weights", async (visit) => {
  const { page, headline, begin, turn } = await training(visit);
  await button(page, "Start training").click();
  await begin();
  await headline.getByText("Training: step 120").waitFor();
  await turn("failed", { error: { type: "device", message: "The GPU was lost. Start anew, then the CPU trains." } });
  await headline.getByText("The training cannot go on").waitFor();
  assert.match(await page.locator("#training").getByRole("alert").innerText(), /The GPU was lost/);
  assert.equal(await page.getByRole("img").count(), 2);
  const [download] = await Promise.all([page.waitForEvent("download"), button(page, "Save weights").click()]);
  assert.deepEqual(await readFile(await download.path()), reference("tiny.safetensors"));
  assert.equal(await button(page, "Pause").isVisible(), false);
  await accessible(page, "#training");
  await button(page, "Start anew").click();
  await button(page, "Start training").waitFor();
});

test("a page whose training cannot be loaded says so and goes on", async (visit) => {
  const site = await visit.site();
  const fault = site.fault(/page\/train\/train\.js/, "missing");
  const page = await visit.visitor({ ...CALM, tolerate: /Failed to load resource|MIME|module script/ });
  await page.goto(site.url(`/demo/${SCENE}`));
  const demo = new Demo(page);
  await demo.ready();
  await demo.choose("Train");
  await demo.notice.getByText(/could not be loaded/).waitFor();
  fault.heal();
  await demo.choose("Match");
  await demo.point([0.3, 0.3]);
  await demo.reading.getByText(/cosine/).waitFor();
});

test("a training is driven by keyboard alone", async (visit) => {
  const { page, headline, begin } = await training(visit);
  await page.locator("#modes input[value=train]").focus();
  const press = async (key, count = 1) => {
    for (let i = 0; i < count; i++) await page.keyboard.press(key);
  };
  const focused = () => page.evaluate(() => document.activeElement.closest("label, button")?.innerText.trim() ?? "");
  await press("Tab");
  assert.match(await focused(), /^rendered scenes/);
  await press("ArrowDown");
  assert.equal(await page.getByLabel("your own photographs").isChecked(), true);
  await press("ArrowUp");
  for (let i = 0; i < 6 && (await focused()) !== "Start training"; i++) await press("Tab");
  assert.equal(await focused(), "Start training");
  await press("Enter");
  await begin();
  await headline.getByText("Training: step 120").waitFor();
  await press("Tab");
  assert.equal(await focused(), "Pause");
  await press("Space");
  await headline.getByText(/Paused/).waitFor();
  assert.equal(await focused(), "Go on", "the button keeps the focus when it changes its meaning");
});

for (const [width, colorScheme] of [[320, "light"], [390, "dark"]]) {
  test(`on a phone ${width} px wide, ${colorScheme}, nothing of a training is cut off`, async (visit) => {
    const phone = { viewport: { width, height: 780 }, hasTouch: true, isMobile: true, colorScheme };
    const { page, headline, begin, turn } = await training(visit, phone);
    assert.ok((await horizontalOverflow(page)) <= 0, `form: ${await horizontalOverflow(page)} px too wide`);
    await button(page, "Start training").click();
    await begin({ refused: [{ name: `${"a-long-name-".repeat(12)}.jpg`, reason: "it is damaged" }] });
    await headline.getByText("Training: step 120").waitFor();
    await page.getByText("The figures as a table").click();
    await page.getByText("1 file left out").click();
    await turn("ended", { before: MEASURED, after: { ...MEASURED, step: 200 } });
    await page.getByText("What it learned").waitFor();
    assert.ok((await horizontalOverflow(page)) <= 0, `run: ${await horizontalOverflow(page)} px too wide`);
    await accessible(page, "#training");
  });
}

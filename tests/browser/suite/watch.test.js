// The page's mode "Watch a run", with runs of the program that are served while they train.
import assert from "node:assert/strict";
import { accessible } from "../lib/axe.js";
import { CALM, Demo, demo, horizontalOverflow, ready } from "../lib/demo.js";
import { ENDLESS, startRun } from "../lib/program.js";
import { test } from "../lib/test.js";

/** Errors that a browser logs when a server does not answer, or when it may not be read. */
const GONE = /Failed to load resource|net::ERR|CORS policy/;

/** The mode of the page, by what it shows. */
const watching = (page) => ({
  headline: page.locator(".run h2"),
  problem: page.locator("#training").getByRole("alert"),
  address: page.getByLabel("Address of the run"),
  columns: page.locator(".panel"),
  plots: page.getByRole("img"),
});

async function watch(page, address) {
  await page.locator("#modes label", { hasText: "Watch a run" }).click();
  await page.getByLabel("Address of the run").fill(address);
  await page.getByRole("button", { name: "Watch", exact: true }).click();
}

test("a run is watched on its own page until it ends", async (visit) => {
  // So many steps that a page on a busy machine has loaded before the run ends.
  const run = await startRun(visit, "--steps 300");
  const page = await visit.visitor({ ...CALM, tolerate: GONE });
  await page.goto(run.url);
  const shown = watching(page);
  await shown.headline.getByText(/Training: step \d+ of 300/).waitFor({ timeout: 60_000 });
  // The pair is matched by the untrained network and by the present one, which goes on.
  await shown.columns.nth(1).getByText("PCK@0.1", { exact: true }).waitFor({ timeout: 60_000 });
  assert.match(await shown.columns.nth(0).innerText(), /Untrained[^]*ResNet-10, random weights/);
  assert.match(await shown.columns.nth(1).innerText(), /Now/);

  await shown.headline.getByText("The run has ended after 300 steps").waitFor({ timeout: 120_000 });
  await shown.columns.nth(1).getByText(/ResNet-10, 300 steps of DenseCL/).waitFor();
  const words = await shown.plots.nth(0).getAttribute("aria-label");
  assert.match(words, /^Loss up to step 300: total [\d.]+ at first, [\d.]+ now; global/);
  const accuracy = await shown.plots.nth(1).getAttribute("aria-label");
  assert.match(accuracy, /matches [\d.]+ % at first[^]*same place[^]*random/);
  const result = await page.locator(".result").innerText();
  assert.match(result, /before\s+[\d.]+ %\s+[\d.]+ %\s+after 300 steps\s+[\d.]+ %/);
  await page.getByText("The figures as a table").click();
  // The rows are written after the table has been opened.
  await page.locator(".rows tbody tr").nth(11).waitFor();
  assert.equal(await page.locator(".rows tbody tr").count(), 12);
  assert.equal(await page.locator(".rows tbody th").last().innerText(), "300");
  await accessible(page);

  // The watched weights can be kept, after the run has ended too.
  const [download] = await Promise.all([
    page.waitForEvent("download"), page.getByRole("button", { name: "Save weights" }).click(),
  ]);
  assert.equal(download.suggestedFilename(), "weights.safetensors");
  // The visitor's own choice of weights comes back with the mode "Match".
  await page.locator("#modes label", { hasText: /^\s*Match\s*$/ }).click();
  await shown.columns.nth(1).waitFor({ state: "hidden" });
  await shown.columns.nth(0).getByText("Trained", { exact: true }).waitFor();
});

test("a watched run that is killed is said to be killed, with its last step", async (visit) => {
  const run = await startRun(visit, ENDLESS);
  const page = await visit.visitor({ ...CALM, tolerate: GONE });
  await page.goto(run.url);
  const shown = watching(page);
  await shown.headline.getByText(/Training: step [1-9]/).waitFor({ timeout: 60_000 });
  run.kill("SIGKILL");
  await shown.headline.getByText("The run no longer answers").waitFor({ timeout: 60_000 });
  assert.match(await shown.problem.innerText(), /after step [\d,]+ of 1,000,000: it was killed, or the connection/);
  await page.getByRole("button", { name: "Try again" }).click();
  await shown.problem.getByText(/Nothing answers at 127\.0\.0\.1/).waitFor();
  assert.equal(await shown.address.inputValue(), run.address);
  await accessible(page);
});

test("a watched run that is stopped is said to be stopped", async (visit) => {
  const run = await startRun(visit, ENDLESS);
  const page = await visit.visitor({ ...CALM, tolerate: GONE });
  await page.goto(run.url);
  const shown = watching(page);
  await shown.headline.getByText(/Training: step [1-9]/).waitFor({ timeout: 60_000 });
  run.kill("SIGTERM");
  await shown.headline.getByText(/The run was stopped at step [\d,]+ of 1,000,000/).waitFor({ timeout: 60_000 });
  assert.equal((await run.exited)[0], 130);
});

test("a page from elsewhere watches a run that names it, and no other", async (visit) => {
  // Without the host's header the page's own policy counts, which permits this computer.
  const site = await visit.site({ csp: null });
  const refuses = await startRun(visit, ENDLESS, { page: false });
  const permits = await startRun(visit, `${ENDLESS} --serve-origin ${site.origin}`, { page: false });
  const { page } = await ready(visit, { site, tolerate: GONE });
  const shown = watching(page);
  await watch(page, refuses.address);
  await shown.problem.getByText(`--serve-origin ${site.origin}`).waitFor();
  await watch(page, permits.address);
  await shown.headline.getByText(/Training: step [1-9]/).waitFor({ timeout: 60_000 });
  await shown.columns.nth(1).getByText("PCK@0.1", { exact: true }).waitFor({ timeout: 60_000 });
  // The page's address restores what is watched.
  await page.waitForFunction((address) => location.hash.includes(`mode=watch&run=${address}`), permits.address);
  await page.reload();
  await shown.headline.getByText(/Training: step [1-9]/).waitFor({ timeout: 60_000 });
});

test("an address where no run is served is refused in words", async (visit) => {
  const site = await visit.site({ csp: null });
  const { page } = await demo(visit, { site, tolerate: GONE });
  const shown = watching(page);
  for (const [address, says] of [
    ["6006 please", /That is no address[^]*http:\/\/127\.0\.0\.1:6006/],
    ["http://gpu-box:6006", /may ask only its own address and this computer[^]*--serve-page/],
    ["http://127.0.0.1:9", /Nothing answers at 127\.0\.0\.1:9/],
    [site.origin, /answers, but no run of densecl is served there/],
  ]) {
    await watch(page, address);
    await shown.problem.getByText(says).waitFor();
    assert.equal(await shown.address.evaluate((input) => document.activeElement === input), true, address);
  }
  await accessible(page, "#training");
});

test("a watched run that fails gives its reason, and a phone shows it whole", async (visit) => {
  const site = await visit.site({ csp: null });
  site.put("/run/status.json", JSON.stringify({
    densecl_version: "0.1.0", phase: "failed", message: "the loss is not finite after step 7", objective: "DenseCL",
    data: "/home/somebody/pictures/of/a/very/long/journey/through/many/folders/2026", backbone: "resnet18",
    batch_size: 256, step: 7, total_steps: 1000, steps_per_epoch: 100, measured: [], weights_step: null,
    untrained: false, figures: [{ name: "loss", label: "total", panel: "loss" }],
  }));
  site.put("/run/metrics.jsonl", '{"step":5,"loss":7.1}\n{"step":6,"loss":19.5}\n');
  const phone = { viewport: { width: 320, height: 780 }, hasTouch: true, isMobile: true, colorScheme: "dark" };
  const { page } = await demo(visit, { site, hash: "#mode=watch&run=here", ...phone });
  const shown = watching(page);
  await shown.headline.getByText("The run failed").waitFor();
  assert.equal(await shown.problem.innerText(), "the loss is not finite after step 7");
  assert.equal(await shown.plots.count(), 1, "a method without matches has no plot of them");
  assert.ok((await horizontalOverflow(page)) <= 0, `${await horizontalOverflow(page)} px too wide`);
  await accessible(page, "#training");
  await page.getByRole("button", { name: "Watch another run" }).click();
  assert.equal(await shown.address.isVisible(), true);
  assert.equal(await new Demo(page).notice.isVisible(), false);
});

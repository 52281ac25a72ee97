// `<dense-match>` without faults: what it shows, and its reactions to pointer, keys and attributes.
import assert from "node:assert/strict";
import { test } from "../lib/test.js";
import { alike, changed, look } from "../lib/eyes.js";
import { landscapePng } from "../lib/pictures.js";
import { hear, heard, openWidgets, ORDINARY, putPair, tag, Widget } from "../lib/widget.js";

/** Opens a page with one element and waits until it is loaded. */
async function loaded(visit, attributes = {}, visitor = {}) {
  const site = await visit.site();
  putPair(site);
  site.put("/landscape.png", landscapePng(448, 448));
  const page = await visit.visitor(visitor);
  await openWidgets(page, site, tag({ ...ORDINARY, ...attributes }));
  await hear(page, "load");
  return { site, page, widget: new Widget(page) };
}

const SAME = { "src-a": "/landscape.png", "src-b": "/landscape.png" };
const CELL = 16 / 224; // a cell's side as a share of the picture's, at the default stride and size

test("the element shows both pictures and says on what it runs", async (visit) => {
  const { page, widget } = await loaded(visit, SAME);
  await widget.clear();
  // The landscape has a red disc and a yellow bar.
  const [redA, redB, yellow] = await widget.colors([["a", [0.3, 0.35]], ["b", [0.3, 0.35]], ["a", [0.55, 0.2]]]);
  assert.ok(alike(redA, [220, 40, 40]) && alike(redB, redA, 2), `${redA} ${redB}`);
  assert.ok(alike(yellow, [245, 240, 90]), `${yellow}`);
  assert.match(await widget.part("badge").innerText(), /CPU/);
  assert.match(await widget.part("badge").innerText(), /\d m?s/);
  assert.equal((await heard(page, "error")).length, 0);
  assert.equal(await widget.part("error").isVisible(), false);
});

test("pointing at a thing in A shows it in B", async (visit) => {
  const { page, widget } = await loaded(visit, SAME);
  const before = await look(widget.stage);
  await widget.point("a", [0.3, 0.35]);
  const match = await hear(page, "match");
  // Both pictures are the same, so each cell must match itself. Positions are in pixels of the 448 px picture.
  assert.ok(match.score > 0.999, `${match.score}`);
  for (const axis of ["x", "y"]) {
    assert.ok(Math.abs(match.position[axis] - match.point[axis]) <= CELL * 448, JSON.stringify(match));
  }
  assert.ok(Math.abs(match.point.x - 0.3 * 448) <= CELL * 448, JSON.stringify(match));
  assert.match(await widget.part("readout").innerText(), /\d+, \d+ → \d+, \d+ .* (1\.00|0\.99)/);
  const after = await look(widget.stage);
  assert.ok(changed(before, after) > 0.2, "the heat map covers B");
});

test("different things in A show at different places in B", async (visit) => {
  const { page, widget } = await loaded(visit, SAME);
  await widget.point("a", [0.3, 0.35]);
  const red = await hear(page, "match");
  await widget.point("a", [0.7, 0.6]);
  const blue = await hear(page, "match", { count: 2 });
  assert.ok(blue.position.x - red.position.x > 0.3 * 448, JSON.stringify([red, blue]));
});

test("the keyboard moves a cursor, pins and clears", async (visit) => {
  const { page, widget } = await loaded(visit, SAME);
  await widget.stage.focus();
  await page.keyboard.press("ArrowRight");
  const first = await hear(page, "match");
  await page.keyboard.press("ArrowRight");
  const second = await hear(page, "match", { count: 2 });
  assert.ok(Math.abs(second.point.x - first.point.x - CELL * 448) < 1, JSON.stringify([first, second]));
  await page.keyboard.press("ArrowDown");
  const third = await hear(page, "match", { count: 3 });
  assert.ok(Math.abs(third.point.y - second.point.y - CELL * 448) < 1, JSON.stringify([second, third]));
  await page.waitForFunction(
    () => /matches \d+ across/.test(document.querySelector("dense-match").shadowRoot.querySelector("[aria-live]").textContent),
  );

  await page.keyboard.press("Enter");
  await page.waitForFunction(
    () => document.querySelector("dense-match").shadowRoot.querySelector("[aria-live]").textContent.startsWith("Pinned"),
  );
  const pinned = await widget.part("readout").innerText();
  await widget.point("a", [0.9, 0.9]);
  await widget.point("a", [0.1, 0.9]);
  assert.equal(await widget.part("readout").innerText(), pinned, "a pinned point stays");
  await widget.stage.focus();
  await page.keyboard.press("Escape");
  await page.waitForFunction(
    (pinned) => document.querySelector("dense-match").shadowRoot.querySelector('[part~="readout"]').textContent !== pinned,
    pinned,
  );
});

test("each view shows something else of the same pair", async (visit) => {
  const { page, widget } = await loaded(visit);
  const heat = await look(widget.stage);
  await page.evaluate(() => document.querySelector("dense-match").setAttribute("view", "matches"));
  await widget.part("readout").getByText(/mutual match/).waitFor();
  const lines = await look(widget.stage);
  await page.evaluate(() => (document.querySelector("dense-match").view = "pca"));
  await widget.part("readout").getByText(/similar features/).waitFor();
  const pca = await look(widget.stage);
  for (const [name, share] of Object.entries({
    lines: changed(heat, lines), pca: changed(heat, pca), both: changed(lines, pca),
  })) assert.ok(share > 0.2, `${name}: ${share}`);
});

test("a higher threshold leaves fewer matches", async (visit) => {
  const { page, widget } = await loaded(visit, { view: "matches", threshold: "0.5" });
  const count = async () => {
    const text = await widget.part("readout").innerText();
    return text.startsWith("No") ? 0 : Number(/^(\d+)/.exec(text)[1]);
  };
  await widget.part("readout").getByText("0.50").waitFor();
  const many = await count();
  assert.ok(many > 3, `${many}`);
  const listed = await page.evaluate(() => document.querySelector("dense-match").matches());
  assert.equal(listed.length, many, "matches() gives what is shown");
  assert.ok(listed.every((match) => match.score >= 0.5));
  await page.evaluate(() => (document.querySelector("dense-match").threshold = 0.97));
  await widget.part("readout").getByText("0.97").waitFor();
  const few = await count();
  assert.ok(few < many, `${few} of ${many}`);
  await page.evaluate(() => (document.querySelector("dense-match").threshold = 1));
  await widget.part("readout").getByText("1.00").waitFor();
  assert.ok((await count()) <= few);
});

test("matches at the border are shown when they are asked for, at once and without a new comparison", async (visit) => {
  // Both pictures are the same, so every cell matches itself: 14 × 14, of which 12 × 12 are not at the border.
  const { page, widget } = await loaded(visit, { ...SAME, view: "matches", threshold: "0.99" });
  await widget.part("readout").getByText(/^144 mutual matches/).waitFor();
  const inner = await look(widget.stage);
  await page.evaluate(() => document.querySelector("dense-match").setAttribute("border-matches", ""));
  await widget.part("readout").getByText(/^196 mutual matches/).waitFor();
  assert.ok(changed(inner, await look(widget.stage)) > 0.003, "their lines are drawn");
  assert.equal(await page.evaluate(() => document.querySelector("dense-match").borderMatches), true);
  await page.evaluate(() => (document.querySelector("dense-match").borderMatches = false));
  await widget.part("readout").getByText(/^144 mutual matches/).waitFor();
  assert.equal(await page.evaluate(() => document.querySelector("dense-match").hasAttribute("border-matches")), false);
  assert.equal((await heard(page, "load")).length, 1);
});

test("match and toBlob answer a program", async (visit) => {
  const { page } = await loaded(visit, SAME);
  const answer = await page.evaluate(async () => {
    const element = document.querySelector("dense-match");
    const match = await element.match(134, 157);
    const blob = await element.toBlob();
    const bitmap = await createImageBitmap(blob);
    return { match, type: blob.type, width: bitmap.width, height: bitmap.height };
  });
  assert.ok(answer.match.score > 0.999, JSON.stringify(answer.match));
  assert.ok(Math.abs(answer.match.position.x - 134) <= CELL * 448, JSON.stringify(answer.match));
  assert.equal(answer.type, "image/png");
  assert.ok(answer.width > answer.height * 1.9, `${answer.width} × ${answer.height}`);
});

test("the latest of several requests wins", async (visit) => {
  const { site, page, widget } = await loaded(visit, SAME);
  const plain = (color) =>
    `<svg xmlns="http://www.w3.org/2000/svg" width="448" height="448"><rect width="448" height="448" fill="${color}"/></svg>`;
  site.put("/slow.svg", plain("#108080"));
  site.put("/last.svg", plain("#e08010"));
  const slow = site.fault(/slow\.svg$/, "held");
  const show = (src) => page.evaluate((src) => document.querySelector("dense-match").setAttribute("src-b", src), src);
  await show("/slow.svg");
  await slow.reached;
  await show("/last.svg");
  await hear(page, "load", { count: 2 });
  slow.release();
  // The late response has taken effect once the same file has been fetched and the engine has answered again.
  await page.evaluate(async () => {
    await (await fetch("/slow.svg")).blob();
    await document.querySelector("dense-match").toBlob();
  });
  await widget.clear();
  const [seen] = await widget.colors([["b", [0.5, 0.5]]]);
  assert.ok(alike(seen, [0xe0, 0x80, 0x10]), `${seen}`);
  assert.equal((await heard(page, "load")).length, 2);
  assert.equal((await heard(page, "error")).length, 0);
});

test("a lazy element waits until it is seen, behind its poster", async (visit) => {
  const site = await visit.site();
  putPair(site);
  const page = await visit.visitor();
  site.put("/far.css", ".far { height: 5000px }");
  await openWidgets(
    page,
    site,
    `<link rel="stylesheet" href="/far.css"><div class="far"></div>` +
      tag({ ...ORDINARY, loading: "lazy" }, '<p slot="poster">before it loads</p>'),
  );
  await page.waitForFunction(() => document.readyState === "complete" && customElements.get("dense-match"));
  assert.equal(site.count(/\.wasm$|manifest\.json$|[ab]\.png$/), 0);
  await page.getByText("before it loads").scrollIntoViewIfNeeded();
  await hear(page, "load");
  assert.equal(site.count(/manifest\.json$/), 1);
  assert.equal(await page.getByText("before it loads").isVisible(), false);
});

test("progress is one figure that only grows", async (visit) => {
  const { page } = await loaded(visit);
  const fractions = (await heard(page, "progress")).map((detail) => detail.fraction);
  assert.ok(fractions.length >= 2, `${fractions}`);
  assert.ok(fractions.every((f, i) => f >= 0 && f <= 1 && (i === 0 || f >= fractions[i - 1])), `${fractions}`);
  assert.equal(fractions.at(-1), 1);
});

test("on a phone the element fits and answers a finger", async (visit) => {
  const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
  const { page, widget } = await loaded(visit, SAME, phone);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${overflow} px too wide`);
  const { width } = await widget.stage.boundingBox();
  // Side by side the pictures would be at most 180 px wide, so they are stacked, A on top.
  await widget.stage.tap({ position: { x: 0.3 * width, y: 0.35 * width } });
  const match = await hear(page, "match");
  assert.ok(Math.abs(match.point.x - 0.3 * 448) <= CELL * 448, JSON.stringify(match));
});

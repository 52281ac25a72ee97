// Pictures of every kind: huge, turned by EXIF, transparent, drawn as SVG.
import assert from "node:assert/strict";
import { test } from "../lib/test.js";
import { putBundle, reference } from "../lib/bundle.js";
import { alike } from "../lib/eyes.js";
import { hugeJpeg, landscapePng, svg, transparentPng, turnedJpeg } from "../lib/pictures.js";
import { hear, heard, openWidgets, tag, Widget } from "../lib/widget.js";

/** Opens an element that shows the same picture twice, with the tiny network. */
async function showing(visit, name, body) {
  const site = await visit.site();
  site.put(name, body);
  const weights = putBundle(site, reference("tiny.safetensors"));
  const page = await visit.visitor();
  await openWidgets(page, site, tag({ "src-a": name, "src-b": name, weights, size: 64, loading: "eager" }));
  await hear(page, "load");
  assert.equal((await heard(page, "error")).length, 0);
  const widget = new Widget(page);
  await widget.clear();
  return { page, widget };
}

test("a photograph of 12,000 × 9,000 px is shown and matched in its own pixels", async (visit) => {
  const { page, widget } = await showing(visit, "/huge.jpg", hugeJpeg());
  const [red, yellow] = await widget.colors([["a", [0.3, 0.35]], ["b", [0.55, 0.2]]]);
  assert.ok(alike(red, [220, 40, 40]), `${red}`);
  assert.ok(alike(yellow, [245, 240, 90], 40), `${yellow}`);
  await widget.point("a", [0.5, 0.5]);
  const { point } = await hear(page, "match");
  // The grid has 4 × 3 cells, each 3,000 px wide.
  assert.ok(Math.abs(point.x - 6000) <= 3000 && Math.abs(point.y - 4500) <= 3000, JSON.stringify(point));
  assert.ok(point.x > 1000, "not the pixels of the network's small copy");
});

test("an SVG is drawn", async (visit) => {
  const { widget } = await showing(visit, "/sign.svg", svg());
  const [left, right] = await widget.colors([["a", [0.25, 0.5]], ["a", [0.75, 0.5]]]);
  assert.ok(alike(left, [0xe0, 0x80, 0x10]) && alike(right, [0x10, 0x80, 0x80]), `${left} ${right}`);
});

test("what is transparent in a PNG is white", async (visit) => {
  const { widget } = await showing(visit, "/half.png", transparentPng());
  const [green, white] = await widget.colors([["a", [0.25, 0.5]], ["a", [0.75, 0.5]]]);
  assert.ok(alike(green, [20, 160, 20]) && alike(white, [255, 255, 255], 4), `${green} ${white}`);
});

test("a photograph that EXIF turns is turned", async (visit) => {
  const { page, widget } = await showing(visit, "/turned.jpg", turnedJpeg());
  const [above, below] = await widget.colors([["a", [0.5, 0.25]], ["a", [0.5, 0.75]]]);
  assert.ok(alike(above, [230, 20, 20]) && alike(below, [20, 20, 230]), `${above} ${below}`);
  const { point } = await page.evaluate(() => document.querySelector("dense-match").match(32, 90));
  assert.ok(point.y > 64, `64 × 96 px after turning, so y reaches ${point.y}`);
});

test("pictures of other proportions keep them", async (visit) => {
  const { widget } = await showing(visit, "/wide.png", landscapePng(400, 100));
  const { width, height } = await widget.stage.boundingBox();
  const one = Math.min((width - 8) / 2 / height, width / ((height - 8) / 2));
  assert.ok(Math.abs(one - 4) < 0.1, `${width} × ${height}`);
});

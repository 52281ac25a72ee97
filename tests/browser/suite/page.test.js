// The demo page as a visitor uses it, served from a folder of a static host, on the CPU.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "../lib/test.js";
import { putBundle, reference, withoutMetadata } from "../lib/bundle.js";
import { CALM, Demo, demo, horizontalOverflow, ready, SCENE } from "../lib/demo.js";
import { alike, changed, look } from "../lib/eyes.js";
import { hugeJpeg, landscapePng, notAnImage } from "../lib/pictures.js";

test("the page says what it is and how far it is before anything is computed", async (visit) => {
  const site = await visit.site();
  const held = site.fault(/\.wasm$/, "held");
  const { page, demo: shown } = await demo(visit, { site });
  await page.getByRole("heading", { level: 1 }).waitFor();
  assert.match(await page.getByRole("heading", { level: 1 }).innerText(), /Point at one picture/);
  await page.getByText(/Fetching the network: \d/).waitFor();
  assert.ok((await page.locator("#progress-bar").getAttribute("value")) < 1);
  held.release();
  await shown.ready();
  assert.equal(await page.locator("#progress").isVisible(), false);
});

test("the page begins with two portraits and the match of a nose, and asks nobody else", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor(CALM);
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.goto(site.url("/demo/"));
  const shown = new Demo(page);
  await shown.ready({ truth: false });
  await shown.reading.getByText(/cosine/).waitFor();
  assert.equal(await page.locator("input[name=kind][value=photos]").isChecked(), true);
  await shown.timings.getByText(/168 × 168 similarities.*192 × 224 px/).waitFor();
  assert.equal(site.count(/\/page\/pictures\/(collins|hopper)\.jpg$/), 2);
  // Nobody knows where the points truly are, so nothing is said about it.
  assert.doesNotMatch(await shown.reading.innerText(), /truth|hidden/);
  assert.equal(await shown.figures.innerText(), "");
  assert.equal(await page.locator("#truth-row").isVisible(), false);
  assert.equal(await page.locator("#another").isVisible(), false);
  assert.equal(await shown.notice.isVisible(), false);

  // The first picture as it is, with its orange suit, and the second in the colours of a heat map, which are greenish
  // yellow at the most similar cells and blue to purple at the least similar ones.
  const seen = await look(shown.canvas);
  const [width, gap] = [(seen.height * 6) / 7, (10 * seen.width) / (await shown.canvas.boundingBox()).width];
  const left = (seen.width - gap) / 2 - width;
  const colour = (which, [u, v]) => seen.at((left + which * (width + gap) + u * width) / seen.width, v);
  const suit = colour(0, [0.12, 0.9]);
  assert.ok(alike(suit, [224, 104, 67], 40), `the suit is ${suit}`);
  const [chin, sleeve] = [colour(1, [0.6, 0.45]), colour(1, [0.05, 0.95])];
  assert.ok(chin[0] + chin[1] > 3 * chin[2], `the face is ${chin}`);
  assert.ok(sleeve[0] + sleeve[1] < 1.6 * sleeve[2], `the sleeve is ${sleeve}`);

  // By the words for screen readers, the nose is found between nose and mouth of the other face.
  await shown.canvas.focus();
  await page.keyboard.press("Enter");
  await page.locator("#live").getByText(/^Point pinned at 51 % from the left, 35 % from the top/).waitFor();
  const spoken = await page.locator("#live").textContent();
  const [, across, down] = /found at (\d+) % from the left, (\d+) % from the top/.exec(spoken).map(Number);
  assert.ok(across > 40 && across < 65 && down > 33 && down < 53, spoken);
  await page.keyboard.press("Enter");

  // A copied address shows the same.
  await page.waitForFunction(() => /pair=photos&.*&at=0\.510,0\.350$/.test(location.hash));
  const again = await visit.tab(page.context());
  await again.goto(page.url());
  const second = new Demo(again);
  await second.ready({ truth: false });
  await second.reading.getByText(/cosine/).waitFor();
  assert.equal(await second.reading.innerText(), await shown.reading.innerText());

  const foreign = asked.filter((url) => !url.startsWith(`${site.origin}/demo/`) && !/^(blob|data):/.test(url));
  assert.deepEqual(foreign.filter((url) => !url.endsWith("/favicon.ico")), []);
});

test("photographs that are missing are replaced by a scene, and come when they are chosen again", async (visit) => {
  const site = await visit.site();
  const fault = site.fault(/hopper\.jpg$/, "missing");
  const { page, demo: shown } = await demo(visit, { hash: "", site, tolerate: /Failed to load resource/ });
  await shown.notice.getByText(/photographs cannot be shown, so here is a rendered scene/).waitFor({ timeout: 60_000 });
  assert.doesNotMatch(await shown.notice.innerText(), /undefined|\[object|Error:/);
  await shown.ready();
  assert.equal(await page.locator("input[name=kind][value=scene]").isChecked(), true);
  await page.waitForFunction(() => location.hash.includes("pair=scene.6"));
  fault.heal();
  await page.getByLabel(/two photographs/).check();
  await shown.timings.getByText("192 × 224 px").waitFor();
  await shown.notice.waitFor({ state: "hidden" });
  assert.equal(await shown.figures.innerText(), "");
});

test("a picture dropped on the second photograph is compared with the first", async (visit) => {
  const { page, demo: shown } = await demo(visit, { hash: "" });
  await shown.ready({ truth: false });
  const { x, y, width, height } = await shown.canvas.boundingBox();
  const place = { clientX: x + 0.7 * width, clientY: y + 0.5 * height };
  await shown.dropAt(place, ["one.png", "image/png", landscapePng(300, 300)]);
  await page.waitForFunction(() => document.querySelector("input[name=kind][value=own]").checked);
  // The first picture is still the portrait, whose shape the timings name.
  await page.waitForFunction(() => /168 × 196/.test(document.querySelector("#timings").textContent));
  await shown.timings.getByText("192 × 224 px").waitFor();
});

test("whoever goes on to train sees a scene, whose truth is known, instead of the photographs", async (visit) => {
  const { page, demo: shown } = await demo(visit, { hash: "" });
  await shown.ready({ truth: false });
  await shown.choose("Train");
  await page.waitForFunction(() => document.querySelector("input[name=kind][value=scene]").checked);
  await shown.figures.getByText("PCK@0.1", { exact: true }).waitFor();
});

test("a rendered pair shows where the point truly is, the error in pixels, and PCK", async (visit) => {
  const { page, demo } = await ready(visit);
  await demo.point([0.45, 0.6]);
  await demo.reading.getByText(/from the truth|hidden in the second/).waitFor();
  const figures = await demo.figures.innerText();
  assert.match(figures, /PCK@0\.1\s+\d+ %[^]*PCK@0\.05\s+\d+ %/);
  const [, near, nearer] = /PCK@0\.1\s+(\d+) %[^]*PCK@0\.05\s+(\d+) %/.exec(figures).map(Number);
  assert.ok(near >= nearer && near > 0 && near <= 100, figures);
  assert.match(figures, /\d+ points with a known answer; mean error [\d.]+ px/);
  // The true point is hidden in places, so several are tried.
  const errors = [];
  for (const u of [0.2, 0.35, 0.5, 0.65, 0.8]) {
    await demo.point([u, 0.7]);
    await demo.reading.getByText(/from the truth|hidden in the second/).waitFor();
    errors.push(...((await demo.reading.innerText()).match(/[\d.]+ px/g) ?? []));
  }
  assert.ok(errors.length > 0, "an error in pixels");
  await demo.choose("show where it truly is");
  await demo.reading.getByText(/from the truth/).waitFor({ state: "detached" });
  assert.equal(await demo.figures.innerText(), "");
  assert.equal(await page.locator("#truth").isChecked(), false);
});

test("the pointer moves the heat map, and Enter pins it", async (visit) => {
  const { page, demo } = await ready(visit);
  await demo.point([0.2, 0.3]);
  const first = await look(demo.canvas);
  await demo.point([0.8, 0.75]);
  await page.waitForFunction(() => location.hash.includes("at=0.8"));
  assert.ok(changed(first, await look(demo.canvas)) > 0.1);
  await demo.canvas.focus();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Enter");
  await page.locator("#live").getByText(/^Point pinned at/).waitFor();
  const pinned = await page.locator("#live").textContent();
  assert.match(pinned, /found at \d+ % from the left, \d+ % from the top, cosine \d\.\d\d/);
  await page.keyboard.press("Escape");
  await demo.reading.getByText(/Move the pointer/).waitFor();
});

test("each view of the page shows something else", async (visit) => {
  const { demo } = await ready(visit);
  const heat = await look(demo.canvas);
  await demo.choose("Matches");
  assert.ok((await demo.count()) > 0);
  const lines = await look(demo.canvas);
  await demo.choose("Colours");
  await demo.page.waitForFunction(() => location.hash.includes("view=pca"));
  const pca = await look(demo.canvas);
  assert.ok(changed(heat, lines) > 0.1 && changed(lines, pca) > 0.1 && changed(heat, pca) > 0.1);
});

test("the threshold decides how many matches are drawn, right and wrong", async (visit) => {
  const { page, demo } = await ready(visit, { hash: `${SCENE}&view=matches&threshold=0.00` });
  const many = await demo.count();
  assert.ok(many > 10, `${many}`);
  const [, right, wrong] = /(\d+)\s*right\s*(\d+)\s*wrong/.exec(await demo.reading.innerText()).map(Number);
  assert.ok(right + wrong <= many && right > 0, `${right} + ${wrong} of ${many}`);
  await page.getByRole("slider").fill("0.98");
  await demo.reading.getByText("over 0.98").waitFor();
  assert.ok((await demo.count()) < many);
});

test("matches at the border are left out until they are asked for, also in the table", async (visit) => {
  const { page, demo } = await ready(visit, { hash: `${SCENE}&view=matches&threshold=0.00` });
  const inner = await demo.count();
  const left = demo.reading.getByText(/\d+ at the border left out/);
  const leftOut = Number.parseInt(await left.innerText(), 10);
  assert.ok(inner > 10 && leftOut > 0, `${inner}, ${leftOut}`);
  const drawn = await look(demo.canvas);
  const box = page.getByLabel("matches at the border, too");
  await box.check();
  await left.waitFor({ state: "detached" });
  assert.equal(await demo.count(), inner + leftOut);
  assert.ok(changed(drawn, await look(demo.canvas)) > 0.003, "their lines are drawn");
  const rows = async () => {
    const save = page.getByRole("button", { name: "Matches as CSV" });
    const [download] = await Promise.all([page.waitForEvent("download"), save.click()]);
    return (await readFile(await download.path(), "utf8")).trim().split("\r\n").length - 1;
  };
  assert.equal(await rows(), inner + leftOut);
  await page.waitForFunction(() => location.hash.includes("&border=shown"));
  const again = await visit.tab(page.context());
  await again.goto(page.url());
  const second = new Demo(again);
  await second.ready();
  assert.equal(await second.count(), inner + leftOut);
  assert.equal(await again.locator("#border-matches").isChecked(), true);
  await box.uncheck();
  await left.waitFor();
  assert.equal(await rows(), inner);
});

test("two dropped pictures are compared", async (visit) => {
  const { page, demo } = await ready(visit);
  const picture = landscapePng(300, 300);
  await demo.drop(["one.png", "image/png", picture], ["two.png", "image/png", picture]);
  await page.waitForFunction(() => document.querySelector("input[name=kind][value=own]").checked);
  await page.waitForFunction(() => document.querySelector(".figures").textContent.trim() === "");
  await demo.point([0.3, 0.35]);
  // Both pictures are the same, so the disc is found with a cosine of 1.
  await demo.reading.getByText("1.00", { exact: true }).first().waitFor();
  await demo.choose("Matches");
  await demo.count();
  const seen = await look(demo.canvas);
  assert.ok(seen.width > 0);
  assert.equal(await demo.notice.isVisible(), false);
});

test("one dropped picture is compared with a known warp of itself", async (visit) => {
  const { page, demo } = await ready(visit);
  await demo.drop(["one.png", "image/png", landscapePng(300, 300)]);
  await page.waitForFunction(() => document.querySelector("input[name=kind][value=warp]").checked);
  await demo.ready();
  await demo.point([0.45, 0.5]);
  await demo.reading.getByText(/px from the truth|hidden in the second/).waitFor();
});

test("a dropped text is refused in words, and the page goes on", async (visit) => {
  const { page, demo } = await ready(visit);
  await demo.drop(["diary.jpg", "image/jpeg", notAnImage()]);
  await demo.notice.getByText(/picture|image/i).first().waitFor();
  assert.doesNotMatch(await demo.notice.innerText(), /undefined|\[object|Error:/);
  await page.getByRole("button", { name: "Back to a rendered scene" }).click();
  await demo.notice.waitFor({ state: "hidden" });
  await demo.ready();
});

test("a huge photograph dropped on the page is shown", async (visit) => {
  const { page, demo } = await ready(visit);
  const huge = hugeJpeg();
  await demo.drop(["huge.jpg", "image/jpeg", huge], ["huge.jpg", "image/jpeg", huge]);
  await page.waitForFunction(() => document.querySelector("input[name=kind][value=own]").checked);
  await demo.reading.getByText(/cosine/).waitFor();
  await demo.timings.getByText(/224 × 160 px/).waitFor();
});

test("the view, the matches and the table are exported as files", async (visit) => {
  const { page, demo } = await ready(visit, { hash: `${SCENE}&view=matches&threshold=0.50` });
  const count = await demo.count();
  const save = async (name) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name }).click()]);
    return { name: download.suggestedFilename(), bytes: await readFile(await download.path()) };
  };
  const picture = await save("This view as PNG");
  assert.match(picture.name, /\.png$/);
  assert.equal(picture.bytes.subarray(1, 4).toString(), "PNG");
  assert.ok(picture.bytes.readUInt32BE(16) >= 1000, "at least 1000 px wide");

  const table = await save("Matches as CSV");
  const lines = table.bytes.toString().trim().split("\r\n");
  assert.equal(lines[0], "weights,x_a,y_a,x_b,y_b,cosine,correct");
  assert.equal(lines.length - 1, count);
  for (const line of lines.slice(1)) {
    const cosine = Number(line.split(",").at(-2));
    assert.ok(cosine >= 0.5 && cosine <= 1.001, line);
  }

  const drawing = await save("Matches as SVG");
  const drawn = await page.evaluate((text) => {
    const parsed = new DOMParser().parseFromString(text, "image/svg+xml");
    return { error: parsed.querySelector("parsererror")?.textContent, lines: parsed.querySelectorAll("line").length };
  }, drawing.bytes.toString());
  assert.deepEqual(drawn, { error: undefined, lines: count });
});

test("a copied address shows the same thing", async (visit) => {
  const { site, page, demo: first } = await ready(visit);
  await first.choose("Another scene");
  await first.choose("8 px");
  await first.choose("both");
  await first.timings.getByText(/784 × 784/).waitFor();
  await first.ready();
  await first.point([0.4, 0.55]);
  await page.waitForFunction(() => /at=0\.[34]/.test(location.hash) && location.hash.includes("feature=stage3+stage4&"));
  await first.reading.getByText(/cosine/).waitFor();
  // The address is updated some time after the pointer has moved; by now it must describe what is shown.
  const address = page.url();
  const [reading, figures] = [await first.reading.innerText(), await first.figures.innerText()];

  const again = await visit.tab(page.context());
  await again.goto(address);
  const second = new Demo(again);
  await second.ready();
  await second.timings.getByText(/784 × 784/).waitFor();
  await second.reading.getByText(/cosine/).waitFor();
  assert.equal(await second.figures.innerText(), figures);
  assert.equal(await second.reading.innerText(), reading);
  assert.equal(await again.locator("input[name=feature][value='stage3+stage4']").isChecked(), true);
  assert.equal(await again.locator("input[name=stride][value='8']").isChecked(), true);
});

test("an address that makes no sense shows the start", async (visit) => {
  const hash = "#pair=x.9e9&stride=7&feature=%00&threshold=NaN&at=,,&weights=+++&view=";
  const { page, demo: shown } = await demo(visit, { hash });
  await shown.ready({ truth: false });
  assert.equal(await page.locator("input[name=kind][value=photos]").isChecked(), true);
  assert.equal(await page.locator("input[name=stride][value='16']").isChecked(), true);
  assert.equal(await shown.notice.isVisible(), false);
});

test("trained and untrained weights stand side by side", async (visit) => {
  const { page, demo } = await ready(visit);
  await page.getByLabel("Compare with").selectOption("untrained");
  const second = page.locator(".panel").nth(1);
  await second.getByText("PCK@0.1", { exact: true }).waitFor();
  assert.match(await second.innerText(), /Untrained[^]*random weights/);
  assert.match(await page.locator(".panel").first().innerText(), /Trained[^]*steps of DenseCL/);
  assert.notEqual(await second.locator(".figures").innerText(), await demo.figures.innerText());
});

test("weights that densecl has just written can be dropped", async (visit) => {
  const { page, demo } = await ready(visit);
  await demo.drop(["mine.safetensors", "", reference("tiny.safetensors")]);
  const second = page.locator(".panel").nth(1);
  await second.getByText("mine.safetensors").waitFor();
  await second.getByText("PCK@0.1", { exact: true }).waitFor();
});

test("weights of another program are not called random", async (visit) => {
  const { page, demo } = await ready(visit);
  await demo.drop(["theirs.safetensors", "", withoutMetadata(reference("tiny.safetensors"))]);
  const second = page.locator(".panel").nth(1);
  await second.getByText("PCK@0.1", { exact: true }).waitFor();
  assert.match(await second.innerText(), /theirs\.safetensors[^]*weights of another program/);
});

test("a host that has a supervised network offers it, and fetches it only when it is chosen", async (visit) => {
  const site = await visit.site();
  const weights = "/demo/dense-match/weights";
  putBundle(site, reference("tiny.safetensors"), { folder: `${weights}/supervised` });
  site.put(`${weights}/index.json`, JSON.stringify(["densecl_r18_photos", "quickstart", "supervised"]));
  const { page } = await ready(visit, { site });
  assert.equal(site.count(/\/supervised\//), 0);
  await page.getByLabel("Compare with").selectOption("supervised");
  const second = page.locator(".panel").nth(1);
  await second.getByText("PCK@0.1", { exact: true }).waitFor();
  assert.match(await second.innerText(), /Supervised/);
  assert.equal(site.count(/\/supervised\/part-0\.bin$/), 1);
  await page.waitForURL(/weights=trained\+supervised/);

  const { page: again, demo: shown } = await demo(visit, { site, hash: new URL(page.url()).hash });
  await shown.ready();
  await again.locator(".panel").nth(1).getByText("Supervised").waitFor();
  assert.equal(await shown.notice.isVisible(), false);
});

test("a link to a supervised network that this host lacks says so", async (visit) => {
  const { page, demo: shown } = await demo(visit, { hash: `${SCENE}&weights=untrained+supervised` });
  await shown.ready();
  assert.match(await shown.notice.innerText(), /supervised network, which is not offered here/);
  assert.equal(await page.locator(".panel").nth(1).isVisible(), false);
  assert.equal(await page.locator("option[value=supervised]").evaluateAll((all) => all.every((o) => o.disabled)), true);
});

test("dropped weights that do not fit are refused in words", async (visit) => {
  const { page, demo } = await ready(visit);
  await demo.drop(["odd.safetensors", "", reference("wrong-architecture.safetensors")]);
  const alert = page.locator(".panel").nth(1).getByRole("alert");
  await alert.waitFor();
  assert.match(await alert.innerText(), /resnet18[^]*resnet10/);
  assert.doesNotMatch(await alert.innerText(), /undefined|panicked/);
  await demo.point([0.3, 0.3]);
  await demo.reading.getByText(/cosine/).waitFor();
});

test("weights that are missing leave the page alive, and come at the second try", async (visit) => {
  const site = await visit.site();
  const fault = site.fault(/densecl_r18_photos-000\.bin$/, "missing");
  const { page, demo: shown } = await demo(visit, { site, tolerate: /Failed to load resource/ });
  const alert = page.locator(".panel").first().getByRole("alert");
  await alert.waitFor({ timeout: 60_000 });
  assert.match(await alert.innerText(), /not found|not there|404/i);
  fault.heal();
  await page.locator(".panel").first().getByRole("button", { name: "Try again" }).click();
  await alert.waitFor({ state: "hidden" });
  await shown.ready();
});

test("a second visit says that the network comes from the cache", async (visit) => {
  const { site, page } = await ready(visit);
  assert.doesNotMatch(await page.locator("#provenance").innerText(), /from cache/);
  const again = await visit.tab(page.context());
  await again.goto(site.url(`/demo/${SCENE}`));
  await new Demo(again).ready();
  assert.match(await again.locator("#provenance").innerText(), /from cache/);
  assert.equal(site.count(/densecl_r18_photos-000\.bin$/), 1);
});

test("who prefers the dark gets it, and can choose", async (visit) => {
  const { page } = await demo(visit, { colorScheme: "dark" });
  const brightness = async () => {
    const seen = await look(page.locator("body"));
    const corner = seen.at(0.005, 0.3);
    return (corner[0] + corner[1] + corner[2]) / 3;
  };
  assert.ok((await brightness()) < 60);
  await page.emulateMedia({ colorScheme: "light" });
  assert.ok((await brightness()) > 200);
  const theme = page.locator("#theme");
  for (let i = 0; i < 3 && (await page.locator("html").getAttribute("data-theme")) !== "dark"; i++) await theme.click();
  assert.ok((await brightness()) < 60);
  await page.reload();
  assert.ok((await brightness()) < 60, "the choice stays");
});

for (const width of [320, 390]) {
  test(`on a phone ${width} px wide nothing is cut off, and a finger finds the match`, async (visit) => {
    const phone = { viewport: { width, height: 780 }, hasTouch: true, isMobile: true };
    const { page, demo } = await ready(visit, phone);
    assert.ok((await horizontalOverflow(page)) <= 0, `${await horizontalOverflow(page)} px too wide`);
    const box = await demo.canvas.boundingBox();
    await demo.canvas.tap({ position: { x: 0.3 * box.width, y: 0.1 * box.height } });
    await page.waitForFunction(() => location.hash.includes("at="));
    await demo.reading.getByText(/cosine/).waitFor();
    for (const label of ["Matches", "Colours", "Heat map"]) await demo.choose(label);
    await page.getByLabel("Compare with").selectOption("untrained");
    await page.locator(".panel").nth(1).getByText("PCK@0.1", { exact: true }).waitFor();
    assert.ok((await horizontalOverflow(page)) <= 0);
  });
}

test("the element further down the page shares the page's worker and weights", async (visit) => {
  const { site, page } = await ready(visit);
  await page.locator("#embed").scrollIntoViewIfNeeded();
  const element = page.locator("dense-match").first();
  await element.locator('[part~="badge"]').first().waitFor();
  await element.locator('[part~="badge"]').getByText(/\d\s(ms|s)/).first().waitFor({ timeout: 60_000 });
  assert.equal(page.workers().length, 1);
  assert.equal(site.count(/densecl_r18_photos-000\.bin$/), 1);
  assert.equal(site.count(/\.wasm$/), 1);
});

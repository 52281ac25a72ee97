// The package in a project that is built with Vite, installed from its archive.
import assert from "node:assert/strict";
import { test } from "../lib/test.js";
import { reference } from "../lib/bundle.js";
import { STRICT_CSP } from "../lib/site.js";
import { buildWithVite } from "../lib/vite.js";

const MODULES = ["densecl_cpu", "densecl_gpu", "densecl_train_cpu", "densecl_train_gpu"];

test("a page built by Vite has the package's files and compares two pictures", async (visit) => {
  const built = await buildWithVite({
    body: '<dense-match src-a="a.png" src-b="b.png" loading="eager"></dense-match>',
    script: `import "dense-match";
      import { engine } from "dense-match/engine.js";
      const element = document.querySelector("dense-match");
      globalThis.shown = new Promise((resolve, reject) => {
        element.addEventListener("load", resolve);
        element.addEventListener("error", ({ detail }) => reject(new Error(detail.message)));
      }).then(() => engine().ready);
      globalThis.train = () => import("dense-match/training.js");`,
  });
  visit.later(built.remove);
  const needed = MODULES.flatMap((name) => [`${name}.js`, `${name}.wasm`]);
  for (const file of [...needed, "worker.js", "training-worker.js", "weights/densecl_r18_photos/densecl_r18_photos-000.bin"]) {
    assert.ok(built.files.includes(`dense-match/${file}`), `${file} is not in the build: ${built.files.join(", ")}`);
  }

  const site = await visit.site({ csp: STRICT_CSP, mounts: [["/any/folder/", built.folder]] });
  for (const side of ["a", "b"]) site.put(`/any/folder/${side}.png`, reference(`shipped-${side}.png`));
  const page = await visit.visitor();
  await page.goto(site.url("/any/folder/"));
  assert.equal((await page.evaluate(() => globalThis.shown)).kind, "cpu");
  // The page's import of engine.js is the element's: both use one worker.
  assert.equal(page.workers().length, 1);
  assert.equal(await page.evaluate(async () => typeof (await globalThis.train()).Training), "function");
});

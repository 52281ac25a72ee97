// What several elements, visits and origins share (worker, weights, cache), and what they must not share.
import assert from "node:assert/strict";
import { test } from "../lib/test.js";
import { putBundle, reference } from "../lib/bundle.js";
import { beforeWorker, hear, heard, openWidgets, ORDINARY, putPair, tag, Widget } from "../lib/widget.js";
import { STRICT_CSP } from "../lib/site.js";

const TINY = { "src-a": "/a.png", "src-b": "/b.png", size: 64, loading: "eager" };

/** Opens a site with the tiny network's pictures and its weights as three shards. */
async function tinySite(visit, options) {
  const site = await visit.site(options);
  putPair(site, "tiny");
  const weights = putBundle(site, reference("tiny.safetensors"), { shards: 3 });
  return { site, weights };
}

test("two elements on one page share one worker, one module and one set of weights", async (visit) => {
  const site = await visit.site();
  putPair(site);
  const page = await visit.visitor();
  await openWidgets(page, site, tag({ ...ORDINARY, id: "one" }) + tag({ ...ORDINARY, id: "two", view: "pca" }));
  await hear(page, "load", { id: "one" });
  await hear(page, "load", { id: "two" });
  assert.equal(page.workers().length, 1);
  for (const file of [/worker\.js$/, /\.wasm$/, /manifest\.json$/, /densecl_r18_photos-000\.bin$/]) {
    assert.equal(site.count(file), 1, `${file}: ${JSON.stringify(site.requests)}`);
  }
});

test("under the strict policy nothing is blocked and nobody else is asked", async (visit) => {
  const site = await visit.site({ csp: STRICT_CSP });
  putPair(site);
  const page = await visit.visitor();
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.addInitScript(() => {
    globalThis.blocked = [];
    document.addEventListener("securitypolicyviolation", (e) => globalThis.blocked.push(`${e.violatedDirective} ${e.blockedURI}`));
  });
  await openWidgets(page, site, tag(ORDINARY));
  await hear(page, "load");
  const answer = await page.evaluate(async () => {
    await document.querySelector("dense-match").match(100, 100);
    return { blocked: globalThis.blocked, isolated: crossOriginIsolated };
  });
  assert.deepEqual(answer, { blocked: [], isolated: false });
  const foreign = asked.filter((url) => !url.startsWith(site.origin) && !/^(blob|data):/.test(url));
  assert.deepEqual(foreign, []);
});

test("a page of one origin uses the package of another", async (visit) => {
  const files = await visit.site({ cors: true });
  const policy = STRICT_CSP
    .replace("script-src 'self'", `script-src 'self' ${files.origin}`)
    .replace("connect-src 'self'", `connect-src 'self' ${files.origin}`);
  const { site } = await tinySite(visit, { csp: policy });
  putPair(files, "tiny");
  const weights = files.url(putBundle(files, reference("tiny.safetensors")));
  const page = await visit.visitor();
  const attributes = {
    ...TINY,
    weights,
    "src-b": files.url("/b.png"),
    "wasm-url": files.url("/package/"),
    "worker-url": files.url("/package/worker.js"),
  };
  await openWidgets(page, site, tag(attributes), { script: files.url("/package/dense-match.js") });
  await hear(page, "load");
  assert.equal(site.count(/^\/package\//), 0);
  const widget = new Widget(page);
  await widget.point("a", [0.4, 0.4]);
  await hear(page, "match");
  const blob = await page.evaluate(async () => (await document.querySelector("dense-match").toBlob()).size);
  assert.ok(blob > 500, "the canvas is not tainted");
});

test("a second visit takes the weights from the cache and says so", async (visit) => {
  const { site, weights } = await tinySite(visit);
  const page = await visit.visitor();
  await openWidgets(page, site, tag({ ...TINY, weights }));
  await hear(page, "load");
  assert.equal((await heard(page, "progress")).at(-1).cached, false);
  assert.equal(site.count(/part-\d\.bin$/), 3);

  const again = await visit.tab(page.context());
  await openWidgets(again, site, tag({ ...TINY, weights }));
  await hear(again, "load");
  assert.equal(site.count(/part-\d\.bin$/), 3, "no shard a second time");
  assert.equal((await heard(again, "progress")).at(-1).cached, true);
});

test("weights of the same name and another content are not taken from the cache", async (visit) => {
  const { site, weights } = await tinySite(visit);
  const page = await visit.visitor();
  await openWidgets(page, site, tag({ ...TINY, weights }));
  await hear(page, "load");
  const [first] = await page.evaluate(() => document.querySelector("dense-match").matches());
  // Another network under the same name: the last 4,096 bytes of the weights are zero.
  const other = Buffer.from(reference("tiny.safetensors"));
  const end = other.length - 4096;
  for (let i = end; i < other.length; i += 4) other.writeFloatLE(0, i);
  assert.equal(putBundle(site, other, { shards: 3 }), weights);
  const again = await visit.tab(page.context());
  await openWidgets(again, site, tag({ ...TINY, weights }));
  await hear(again, "load");
  assert.equal(site.count(/part-2\.bin$/), 2, "the shard that changed is fetched");
  assert.equal(site.count(/part-0\.bin$/), 1, "those that did not are not");
  assert.ok(first);
});

test("a load that broke off goes on with the shards that are missing", async (visit) => {
  const { site, weights } = await tinySite(visit);
  const fault = site.fault(/part-2\.bin$/, "cut");
  const page = await visit.visitor({ tolerate: /Failed to load resource|net::ERR_/ });
  await openWidgets(page, site, tag({ ...TINY, weights }));
  await hear(page, "error");
  fault.heal();
  const before = site.count(/part-[01]\.bin$/);
  await new Widget(page).part("retry").click();
  await hear(page, "load", { despite: 1 });
  assert.equal(site.count(/part-[01]\.bin$/), before, "what had arrived is not fetched again");
});

const REFUSALS = {
  "storage that is forbidden": `
    const refuse = () => Promise.reject(new DOMException("storage is forbidden", "SecurityError"));
    for (const name of ["open", "match", "has", "delete", "keys"]) CacheStorage.prototype[name] = refuse;
    StorageManager.prototype.getDirectory = refuse;
    IDBFactory.prototype.open = () => { throw new DOMException("storage is forbidden", "SecurityError"); };`,
  "storage that is full": `
    const full = () => Promise.reject(new DOMException("the quota is used up", "QuotaExceededError"));
    for (const name of ["put", "add", "addAll"]) Cache.prototype[name] = full;
    FileSystemFileHandle.prototype.createWritable = full;
    FileSystemFileHandle.prototype.createSyncAccessHandle = full;`,
  "storage that does not exist": `
    Object.defineProperty(globalThis, "caches", { value: undefined });
    Object.defineProperty(navigator, "storage", { value: undefined });`,
};

for (const [what, script] of Object.entries(REFUSALS)) {
  test(`${what} costs a visitor nothing but the cache`, async (visit) => {
    const { site, weights } = await tinySite(visit);
    await beforeWorker(site, script);
    const page = await visit.visitor();
    await openWidgets(page, site, tag({ ...TINY, weights }));
    await hear(page, "load");
    assert.equal(site.count(/before\.js$/), 1, "the refusal was in place");
    await new Widget(page).point("a", [0.4, 0.4]);
    assert.ok((await hear(page, "match")).score <= 1.001);
    assert.equal((await heard(page, "error")).length, 0);
  });
}

// Faults of weights and pictures while loading: the visitor reads an understandable message, the error event
// has its documented type, the rest of the page works, and a retry succeeds.
import assert from "node:assert/strict";
import { test } from "../lib/test.js";
import { putBundle, reference } from "../lib/bundle.js";
import { notAnImage } from "../lib/pictures.js";
import { hear, heard, openWidgets, putPair, tag, Widget } from "../lib/widget.js";

// Chromium logs requests that a server refused or broke off; no other error is tolerated.
const REFUSED = /Failed to load resource|net::ERR_/;

/**
 * Opens a page with an element that fails and one that must not be affected; then removes the fault, after
 * which the first must load on a retry.
 * @param {object} wrong
 * @param {string} wrong.type the type of the error event
 * @param {RegExp} wrong.says the message that the visitor reads
 * @param {(site: import("../lib/site.js").Site) => {attributes?: object, heal?: () => void}} wrong.arrange
 */
function fails(name, { type, says, arrange }) {
  test(name, async (visit) => {
    const site = await visit.site();
    putPair(site, "tiny");
    const tiny = reference("tiny.safetensors");
    const pictures = { "src-a": "/a.png", "src-b": "/b.png", loading: "eager", size: 64 };
    const healthy = { ...pictures, weights: putBundle(site, tiny, { folder: "/weights/healthy" }), id: "healthy" };
    const weights = putBundle(site, tiny, { folder: "/weights/sick", shards: 3 });
    const { attributes = {}, heal } = arrange(site, tiny);
    const page = await visit.visitor({ tolerate: REFUSED });
    const sick = { ...pictures, weights, id: "sick", ...attributes };
    await openWidgets(page, site, tag(sick) + tag(healthy));

    const detail = await hear(page, "error", { id: "sick" });
    assert.equal(detail.type, type, JSON.stringify(detail));
    const widget = new Widget(page, "#sick");
    const message = widget.part("message");
    await message.waitFor();
    const text = await message.innerText();
    assert.match(text, says);
    assert.doesNotMatch(text, /undefined|\[object|Error:|panicked|unreachable/);

    await hear(page, "load", { id: "healthy" });
    assert.equal((await heard(page, "error", "healthy")).length, 0);
    assert.equal((await heard(page, "load", "sick")).length, 0);
    heal();
    await widget.part("retry").click();
    await hear(page, "load", { id: "sick", despite: 1 });
    assert.equal(await message.isVisible(), false);
  });
}

const fault = (pattern, kind) => (site) => site.fault(pattern, kind);

fails("weights that are not there say so", {
  type: "not-found",
  says: /not found|not there|no weights|404/i,
  arrange: fault(/sick\/manifest\.json$/, "missing"),
});

fails("a shard that is not there says so", {
  type: "not-found",
  says: /not found|not there|404/i,
  arrange: fault(/sick\/part-1\.bin$/, "missing"),
});

fails("weights that end too early are truncated", {
  type: "truncated",
  says: /truncat|incomplete|ended|short|whole|half/i,
  arrange: fault(/sick\/part-1\.bin$/, "short"),
});

fails("weights with a wrong byte are refused by their hash", {
  type: "hash-mismatch",
  says: /damaged|hash|checksum|altered|changed|differ/i,
  arrange: fault(/sick\/part-2\.bin$/, "corrupt"),
});

fails("a connection that breaks is a network error", {
  type: "network",
  says: /connection|network|interrupted/i,
  arrange: fault(/sick\/part-0\.bin$/, "cut"),
});

fails("weights of another architecture are refused", {
  type: "wrong-weights",
  says: /resnet18[^]*resnet10/,
  arrange: (site, tiny) => {
    const manifest = putBundle(site, reference("wrong-architecture.safetensors"), { folder: "/weights/wrong" });
    return { attributes: { weights: manifest }, heal: () => putBundle(site, tiny, { folder: "/weights/wrong" }) };
  },
});

fails("a page where a manifest should be is no weights", {
  type: "unsupported-weights",
  says: /manifest|weights|format|read/i,
  arrange: (site, tiny) => {
    site.html("/weights/odd/manifest.json", "<h1>Welcome</h1>");
    return {
      attributes: { weights: "/weights/odd/manifest.json" },
      heal: () => putBundle(site, tiny, { folder: "/weights/odd" }),
    };
  },
});

fails("a manifest that promises a monster is refused before anything is loaded", {
  type: "unsupported-weights",
  says: /out of range|large|at most/i,
  arrange: (site, tiny) => {
    const change = (manifest) => {
      manifest.bytes = 2 ** 50;
      manifest.shards[0].bytes = 2 ** 50;
    };
    const folder = "/weights/monster";
    const manifest = putBundle(site, tiny, { folder, change });
    return { attributes: { weights: manifest }, heal: () => putBundle(site, tiny, { folder }) };
  },
});

fails("a text file named .jpg is not an image", {
  type: "not-an-image",
  says: /picture|image/i,
  arrange: (site) => {
    site.put("/diary.jpg", notAnImage());
    return {
      attributes: { "src-b": "/diary.jpg" },
      heal: () => site.put("/diary.jpg", reference("tiny-b.png")),
    };
  },
});

fails("a picture that is not there says so", {
  type: "not-found",
  says: /not found|not there|404|picture/i,
  arrange: (site) => ({
    attributes: { "src-a": "/nowhere.png" },
    heal: () => site.put("/nowhere.png", reference("tiny-a.png")),
  }),
});

test("a module that is not there says so, and comes at the second try", async (visit) => {
  const site = await visit.site();
  putPair(site, "tiny");
  const weights = putBundle(site, reference("tiny.safetensors"));
  const fault = site.fault(/densecl_cpu.*\.wasm$/, "missing");
  const page = await visit.visitor({ tolerate: REFUSED });
  await openWidgets(page, site, tag({ "src-a": "/a.png", "src-b": "/b.png", weights, size: 64, loading: "eager" }));
  await hear(page, "error");
  const widget = new Widget(page);
  await widget.part("message").waitFor();
  fault.heal();
  await widget.part("retry").click();
  await hear(page, "load", { despite: 1 });
});

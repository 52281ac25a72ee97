// Tests how the attributes of <dense-match> are parsed. Run: node --test tests/browser/unit/
import assert from "node:assert/strict";

import { ATTRIBUTES, INPUTS, propertyName } from "../../../web/js/element/attributes.js";
import { unit as test } from "../lib/test.js";

test("an absent attribute has its default", () => {
  const defaults = Object.fromEntries(Object.entries(ATTRIBUTES).map(([name, value]) => [name, value(null)]));
  assert.deepEqual(defaults, {
    "src-a": "", "src-b": "", weights: "", view: "heatmap", feature: "stage4", stride: 16, threshold: 0.9,
    "border-matches": false, size: 224, loading: "auto", "wasm-url": "", "worker-url": "", poster: "",
  });
});

test("a value that is not allowed counts as the default", () => {
  assert.equal(ATTRIBUTES.view("pca"), "pca");
  assert.equal(ATTRIBUTES.view("PCA!"), "heatmap");
  assert.equal(ATTRIBUTES.feature("stage2"), "stage4");
  assert.equal(ATTRIBUTES.feature("stage3+stage4"), "stage3+stage4");
  assert.equal(ATTRIBUTES.stride("8"), 8);
  assert.equal(ATTRIBUTES.stride("8px"), 16);
  assert.equal(ATTRIBUTES.stride(""), 16);
  assert.equal(ATTRIBUTES.loading("later"), "auto");
});

test("a boolean attribute is true when it is present, whatever its value", () => {
  assert.equal(ATTRIBUTES["border-matches"](""), true);
  assert.equal(ATTRIBUTES["border-matches"]("false"), true);
  assert.equal(propertyName("border-matches"), "borderMatches");
});

test("numbers are kept within their range", () => {
  assert.equal(ATTRIBUTES.threshold("0.5"), 0.5);
  assert.equal(ATTRIBUTES.threshold("0"), 0);
  assert.equal(ATTRIBUTES.threshold("-3"), -1);
  assert.equal(ATTRIBUTES.threshold("NaN"), 0.9);
  assert.equal(ATTRIBUTES.threshold("Infinity"), 0.9);
  assert.equal(ATTRIBUTES.size("99999999"), 1024);
  assert.equal(ATTRIBUTES.size("96.4"), 96);
  assert.equal(ATTRIBUTES.size(""), 224);
});

test("a property is named as its attribute in camel case, and inputs are attributes", () => {
  assert.equal(propertyName("src-a"), "srcA");
  assert.equal(propertyName("worker-url"), "workerUrl");
  assert.equal(propertyName("view"), "view");
  for (const name of INPUTS) assert.ok(name in ATTRIBUTES, name);
});

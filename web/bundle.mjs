// Makes the package's JavaScript small: `node web/bundle.mjs DIST` writes one file per entry of web/js into DIST.
//
// Needs esbuild (`npm ci` in web/). Without this step the package works as well, from the modules as they are in web/js;
// it is then about twice the size and more files.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";

const from = fileURLToPath(new URL("js", import.meta.url));
const to = process.argv[2];
if (!to) throw new Error("usage: node web/bundle.mjs DIST");

// engine.js is a file of its own, because all who import it must meet the same engines. draw.js has no state, so the
// element takes what it needs of it along and saves a request.
const ENGINE = path.join(from, "engine.js");

/** Leaves the engine out, and makes the element's style sheet small too. */
const house = {
  name: "dense-match",
  setup(build) {
    build.onResolve({ filter: /\/engine\.js$/ }, ({ kind, path: asked, resolveDir }) =>
      kind !== "entry-point" && path.resolve(resolveDir, asked) === ENGINE ? { path: "./engine.js", external: true } : undefined);
    build.onLoad({ filter: /\/element\/shell\.js$/ }, async ({ path: file }) => {
      const source = await readFile(file, "utf8");
      const [style, css] = /const STYLE = `([^`]*)`/.exec(source);
      const { code } = await transform(css, { loader: "css", minify: true });
      return { contents: source.replace(style, () => `const STYLE = \`${code.trim()}\``) };
    });
  },
};

const { outputFiles } = await build({
  entryPoints: ["dense-match.js", "engine.js", "draw.js", "worker.js"].map((name) => path.join(from, name)),
  outdir: to,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  plugins: [house],
  write: false,
});

// A file that is as it was keeps its time, or a watcher of the folder would never come to rest.
await mkdir(to, { recursive: true });
for (const { path: file, contents } of outputFiles) {
  const before = await readFile(file).catch(() => null);
  if (!before?.equals(contents)) await writeFile(file, contents);
}

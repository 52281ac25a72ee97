/**
 * A plugin for Vite, so that `import "dense-match"` works in a project.
 *
 * The package loads its workers, WebAssembly modules and weights by their addresses beside its own files, and a
 * manifest of weights names its parts. A bundler would move and rename these files, or leave them out. Therefore the
 * plugin keeps the package out of the bundle: a build has the package's files unchanged in one folder, and imports of
 * the package lead there. In development Vite serves the files from where npm installed them.
 */

import { readFileSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGE = fileURLToPath(new URL(".", import.meta.url));
// Without `await`: the configuration of a project that is not an ES module is loaded by `require`.
const { exports } = JSON.parse(readFileSync(path.join(PACKAGE, "package.json"), "utf8"));
/** Stands in an import for the way from its file to the folder, which is known once the file has a name. */
const FOLDER = "@dense-match-folder@/";
/** Files that a browser never asks for. */
const UNUSED = /\.(md|mts|mjs|d\.ts)$|^package\.json$/;

/** The package's files that a site needs, as paths with "/", relative to the package. */
async function files() {
  const entries = await readdir(PACKAGE, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(PACKAGE, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, "/"))
    .filter((file) => !UNUSED.test(file));
}

/** The file that an import of the package means, or null: "dense-match/engine.js" is engine.js. @param {string} id */
function imported(id) {
  if (id !== "dense-match" && !id.startsWith("dense-match/")) return null;
  const entry = exports[`.${id.slice("dense-match".length)}`];
  return entry?.default?.slice("./".length) ?? id.slice("dense-match/".length);
}

/**
 * @param {{folder?: string}} [options] `folder`: the package's folder in the build, relative to `build.outDir`
 */
export function denseMatch({ folder = "dense-match" } = {}) {
  let building = false;
  return {
    name: "dense-match",
    enforce: "pre",
    // What is rendered on a server imports the package from node_modules; there it defines nothing.
    applyToEnvironment: (environment) => environment.config.consumer === "client",
    // Vite would copy the modules without the files beside them into its cache.
    config: () => ({ optimizeDeps: { exclude: ["dense-match"] } }),
    configResolved(config) {
      building = config.command === "build";
    },
    resolveId(id) {
      const file = building && imported(id);
      return file ? { id: FOLDER + file, external: true } : null;
    },
    // The way is relative to the importing file, so that it holds for every `base`, a relative one too.
    renderChunk(code, { fileName }) {
      if (!code.includes(FOLDER)) return null;
      const way = path.posix.relative(path.posix.dirname(fileName), folder);
      return { code: code.replaceAll(FOLDER, `${way.startsWith(".") ? way : `./${way}`}/`), map: null };
    },
    async generateBundle() {
      for (const file of await files()) {
        this.emitFile({ type: "asset", fileName: `${folder}/${file}`, source: await readFile(path.join(PACKAGE, file)) });
      }
    },
  };
}

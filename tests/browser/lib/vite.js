// A project with Vite that installs the package as a visitor to npm would: packed, and without the network.
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { ROOT } from "./site.js";

const npm = (args, cwd) => promisify(execFile)("npm", [...args, "--loglevel=error", "--no-audit", "--no-fund"], { cwd });

/**
 * Builds a page with the element, whose module is imported by name.
 *
 * @param {{body: string, script: string, dist?: string}} options `body`: HTML; `script`: the page's
 *   module; `dist`: the package, unpacked
 * @returns {Promise<{folder: string, files: string[], remove: () => Promise<void>}>} `folder`: the built page;
 *   `files`: all files in it, as sorted paths with "/"
 */
export async function buildWithVite({ body, script, dist = path.join(ROOT, "web/dist") }) {
  const project = await mkdtemp(path.join(tmpdir(), "densecl-vite-"));
  const remove = () => rm(project, { recursive: true });
  try {
    const put = (name, text) => writeFile(path.join(project, name), text);
    await put("package.json", '{ "private": true, "type": "module" }');
    await put("index.html", `<!doctype html><html lang="en"><meta charset="utf-8"><title>vite</title><body>${body}
      <script type="module" src="/main.js"></script></body></html>`);
    await put("main.js", script);
    await put("vite.config.js", 'import { denseMatch } from "dense-match/vite";\nexport default { plugins: [denseMatch()] };\n');
    const { stdout } = await npm(["pack", "--json", dist, "--pack-destination", project], project);
    await npm(["install", "--offline", path.join(project, JSON.parse(stdout)[0].filename)], project);
    // Vite itself is the one of the tests. A relative base, so that the page works in any folder of a site.
    const { build } = await import("vite");
    await build({ root: project, base: "./", logLevel: "error" });
    const folder = path.join(project, "dist");
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = entries
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, "/"));
    return { folder, files: files.sort(), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

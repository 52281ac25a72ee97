// Starts Chromium in two variants: without WebGPU (plain headless), and with WebGPU in software.
import { existsSync } from "node:fs";
import path from "node:path";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

function chromiumPath() {
  if (process.env.CHROME) return process.env.CHROME;
  const folders = (process.env.PATH ?? "").split(path.delimiter);
  const found = NAMES.flatMap((name) => folders.map((folder) => path.join(folder, name))).find(existsSync);
  if (!found) throw new Error("no Chromium: apt-get install chromium, or set CHROME");
  return found;
}

const FLAGS = {
  plain: [],
  webgpu: ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
};

const launched = new Map();

/**
 * The browser of this kind; started at the first call.
 * @param {"plain" | "webgpu"} kind
 * @returns {Promise<import("playwright-core").Browser>}
 */
export function browser(kind) {
  if (!launched.has(kind)) {
    // Imported here, so that the names of the tests can be listed without the package.
    const starting = import("playwright-core").then(({ chromium }) =>
      chromium.launch({
        executablePath: chromiumPath(),
        args: ["--headless=new", "--force-color-profile=srgb", ...FLAGS[kind]],
      }),
    );
    launched.set(kind, starting);
  }
  return launched.get(kind);
}

/** Closes all browsers that this process started. */
export async function closeBrowsers() {
  for (const starting of launched.values()) await (await starting).close();
  launched.clear();
}

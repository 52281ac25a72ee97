// Runs of the program, which serve themselves to the page.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { ROOT } from "./site.js";

/** The program, as tests/browser/main.rs found or built it. */
export const PROGRAM = process.env.DENSECL_PROGRAM ?? path.join(ROOT, "target/release/densecl");

/** A small run on one thread, so that the browser beside it is not starved. */
const SMALL =
  "pretrain --config quickstart --device cpu --set model.width=8 --set data.scene_count=32 --set method.queue=32 " +
  "--set eval.pairs=8 --set log.every_steps=2 --set log.tensorboard=false --serve 127.0.0.1:0";

/** More steps than are taken before a test ends the run. */
export const ENDLESS = "--steps 1000000";

/**
 * Starts a run that is served, with the page unless told otherwise, and ends it with the case.
 * @param {object} visit see lib/test.js
 * @param {string} options further arguments
 */
export async function startRun(visit, options, { page = true } = {}) {
  const folder = await mkdtemp(path.join(os.tmpdir(), "densecl-run-"));
  const served = page ? ["--serve-page", path.join(ROOT, "dist")] : [];
  const child = spawn(PROGRAM, [...SMALL.split(" "), ...options.split(" "), ...served], {
    cwd: folder, stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, RAYON_NUM_THREADS: "1" },
  });
  const exited = once(child, "exit");
  visit.later(async () => {
    child.kill("SIGKILL");
    await exited;
    await rm(folder, { recursive: true, force: true });
  });
  let said = "";
  const url = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", () => reject(new Error(`the run ended early:\n${said}`)));
    child.stderr.on("data", (data) => {
      said += data;
      const [found] = /http:\S+(?=\n)/.exec(said) ?? [];
      if (found) resolve(found);
    });
  });
  return { url, address: new URL(url).origin, kill: (signal) => child.kill(signal), exited };
}

/**
 * The modes "Train" and "Watch a run". The page imports this file, its style sheet and what it needs when a visitor
 * chooses one of them for the first time, and not before.
 */
import { element } from "../dom.js";
import { effect } from "../store.js";
import { LiveColumns } from "./columns.js";

/** How each mode is made. */
const VIEWS = {
  train: async (parts) => new (await import("./train.js")).TrainView(parts.columns, parts.say),
  watch: async (parts) => new (await import("./watch.js")).WatchView(parts.store, parts.columns),
};

/** Adds the style sheet and waits for it, so that nothing is shown without it. */
function style() {
  const href = new URL("train.css", import.meta.url).href;
  return new Promise((resolve) => {
    const link = element("link", { rel: "stylesheet", href });
    link.addEventListener("load", resolve);
    link.addEventListener("error", resolve);
    document.head.append(link);
  });
}

/**
 * @param {object} store the page's
 * @param {HTMLElement} place where the modes are shown
 * @param {(message: string) => void} say shows a notice
 */
export async function startModes(store, place, say) {
  await style();
  const parts = { store, say, columns: new LiveColumns(store) };
  const made = {};
  let shown = null;

  effect(store, (s) => [s.mode], async ({ mode }, signal) => {
    shown?.leave();
    if (shown) shown.element.hidden = true;
    shown = null;
    place.hidden = !VIEWS[mode];
    if (!VIEWS[mode]) return;
    made[mode] ??= VIEWS[mode](parts);
    let view;
    try {
      view = await made[mode];
    } catch {
      made[mode] = null;
      return say("A part of this page could not be loaded. Check the connection and load the page again.");
    }
    if (signal.aborted) return;
    if (!view.element.isConnected) place.append(view.element);
    view.element.hidden = false;
    shown = view;
    view.enter();
  });

  store.set({ onDrop: (transfer) => shown?.drop?.(transfer) ?? false });
}

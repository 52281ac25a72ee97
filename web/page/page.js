/**
 * The demo page. The state (state.js) is kept in a store (store.js); session.js adds the engine's results to it, and
 * the columns (panel.js) and the rest of the page show it. All numbers are computed by the engine, the core crate in
 * a worker.
 */
import { engine } from "../dense-match/engine.js";
import { startControls } from "./controls.js";
import { byId } from "./dom.js";
import { startExport } from "./export.js";
import { Panel } from "./panel.js";
import { startSession } from "./session.js";
import { offersSupervised, startSources } from "./sources.js";
import { fromHash, initialState, toHash } from "./state.js";
import { startStatus } from "./status.js";
import { createStore, effect } from "./store.js";
import { startTour } from "./tour.js";

const supervised = offersSupervised();
const { choices, lost, unoffered } = await asked(location.hash);
const store = createStore({ ...initialState, ...choices });
supervised.then((supervisedOffered) => store.set({ supervisedOffered }));
const stage = byId("stage");

const panels = [new Panel(store, 0), new Panel(store, 1)];
byId("panels").append(...panels.map((panel) => panel.element));
store.subscribe(({ weights }) => stage.classList.toggle("comparing", weights[1] !== null));

const say = startStatus(store);
const sources = startSources(store, {
  pictureAt: (x, y) => panels.map((panel) => panel.pictureAt(x, y)).find(Boolean) ?? null,
});
startControls(store, sources);
startExport(store, say);
startAddress(store);
startSession(store, engine());
startTour(store, stage);
startModes();
tellMissing({ lost, unoffered });

/** Loads the code of the modes other than "Match" when one of them is chosen for the first time. */
function startModes() {
  let modes = null;
  effect(store, ({ mode }) => [mode], ({ mode }) => {
    document.documentElement.dataset.mode = mode;
    if (mode === "match") return;
    modes ??= import("./train/mode.js").then((module) => module.startModes(store, byId("training"), say));
    modes.catch(() => {
      modes = null;
      store.set({ mode: "match" });
      say("That part of the page could not be loaded. Check the connection and try again.");
    });
  });
}

/** Writes the state into the URL's fragment, and updates the state when the visitor changes the fragment. */
function startAddress({ subscribe, set }) {
  let written = null;
  let timer = 0;
  const write = () => {
    timer = 0;
    const { state } = store;
    // The point of the automatic tour is not a choice of the visitor, so it is not written into the URL.
    const hash = toHash(state.touring ? { ...state, point: null } : state);
    if (hash === written) return;
    written = hash;
    history.replaceState(null, "", hash);
  };
  // Browsers limit how often a page may change its URL.
  subscribe(() => (timer ||= setTimeout(write, 250)));
  addEventListener("hashchange", async () => {
    const { hash } = location;
    if (hash === written) return;
    const { choices, ...missing } = await asked(hash);
    if (location.hash !== hash) return; // changed again meanwhile
    set({ ...choices, own: [null, null], notice: null });
    tellMissing(missing);
  });
}

/**
 * The choices of a fragment that can be restored here. `lost`: see `fromHash`; `unoffered`: whether it names the
 * supervised network, but this host has none.
 */
async function asked(hash) {
  const { choices, lost } = fromHash(hash);
  const unoffered = choices.weights.includes("supervised") && !(await supervised);
  if (unoffered) choices.weights = initialState.weights;
  return { choices, lost, unoffered };
}

/** Tells the visitor which choices of the link could not be restored. */
function tellMissing({ lost, unoffered }) {
  const instead = "so here is what the page starts with instead.";
  if (lost.length) {
    say(`This link was made with ${lost.join(" and ")} from a file. Files never leave their browser, ${instead}`);
  } else if (unoffered) {
    say(`This link shows a supervised network, which is not offered here, ${instead}`);
  }
}

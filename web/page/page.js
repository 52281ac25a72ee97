/**
 * The demo page. State (state.js, in a store.js) → the engine's answers (session.js) → columns (panel.js) and the
 * rest of the page. No numbers are computed here: the engine, which is the core crate in a worker, is asked.
 */
import { engine } from "../dense-match/engine.js";
import { startControls } from "./controls.js";
import { byId } from "./dom.js";
import { startExport } from "./export.js";
import { Panel } from "./panel.js";
import { startSession } from "./session.js";
import { startSources } from "./sources.js";
import { fromHash, initialState, toHash } from "./state.js";
import { startStatus } from "./status.js";
import { createStore } from "./store.js";
import { startTour } from "./tour.js";

const { choices, lost } = fromHash(location.hash);
const store = createStore({ ...initialState, ...choices });
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
if (lost.length) tellLost(lost);

/** Keeps the address in step with the state, and the state with an address that is pasted or gone back to. */
function startAddress({ subscribe, set }) {
  let written = null;
  let timer = 0;
  const write = () => {
    timer = 0;
    const { state } = store;
    // The wandering point is nobody's choice.
    const hash = toHash(state.touring ? { ...state, point: null } : state);
    if (hash === written) return;
    written = hash;
    history.replaceState(null, "", hash);
  };
  // Browsers limit how often a page may write its address.
  subscribe(() => (timer ||= setTimeout(write, 250)));
  addEventListener("hashchange", () => {
    if (location.hash === written) return;
    const asked = fromHash(location.hash);
    set({ ...asked.choices, own: [null, null], notice: null });
    if (asked.lost.length) tellLost(asked.lost);
  });
}

/** A link cannot carry what never left its maker's browser. */
function tellLost(what) {
  say(`This link was made with ${what.join(" and ")} from a file. Files never leave their browser, so here is what ` +
    "the page starts with instead.");
}

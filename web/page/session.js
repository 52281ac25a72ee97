/**
 * Requests results from the engine for the visitor's choices. Each effect makes one request when one of its
 * dependencies has changed, and drops results that are out of date.
 */
import { cellAt } from "../dense-match/engine.js";
import { emptySide, PHOTOS, SHIPPED, SUPERVISED } from "./state.js";
import { effect } from "./store.js";

/** The longer side of the network's input in pixels. */
const SIZE = 224;

const isAbort = (error) => error?.name === "AbortError" || error?.type === "aborted";

/** @param {EventTarget} engine see js/engine.js */
export function startSession(store, engine) {
  engine.addEventListener("progress", ({ detail }) => store.set({ progress: detail }));
  engine.addEventListener("devicechange", ({ detail }) => store.set({ device: detail }));

  effect(store, (s) => [s.attempt], async (_, signal) => {
    store.set({ engineError: null });
    try {
      const device = await engine.ready;
      if (!signal.aborted) store.set({ device });
    } catch (engineError) {
      if (!signal.aborted) store.set({ engineError });
    }
  });

  effect(store, (s) => [s.kind, s.seed, s.warpSeed, s.own, s.attempt], async (state, signal) => {
    store.set({ picturesBusy: true, picturesError: null });
    try {
      const pictures = await makePictures(engine, state, signal);
      if (!signal.aborted) store.set({ pictures, picturesBusy: false });
    } catch (picturesError) {
      if (signal.aborted || isAbort(picturesError)) return;
      if (engine.device && state.kind === "photos") {
        const notice = `The photographs cannot be shown, so here is a rendered scene. ${picturesError.message}`;
        return store.set({ kind: "scene", notice });
      }
      // Without an engine there are no pictures either, but the columns already report the engine's error.
      store.set({ picturesError: engine.device ? picturesError : null, picturesBusy: false });
    }
  });

  for (const index of [0, 1]) startSide(store, engine, index);
}

/** The two pictures for a state, and their true correspondence if it is known. */
async function makePictures(engine, { kind, seed, warpSeed, own }, signal) {
  const options = { size: SIZE, signal };
  const [first, second] = kind === "photos" ? PHOTOS : own;
  if (kind === "photos" || (kind === "own" && second)) {
    const [a, b] = await Promise.all([
      first ? engine.picture(first, options) : engine.scene({ seed, size: SIZE }).then((scene) => scene.a),
      engine.picture(second, options),
    ]);
    return { a, b, truth: null };
  }
  if (kind === "scene") return engine.scene({ seed, size: SIZE });
  const a = first ? await engine.picture(first, options) : (await engine.scene({ seed, size: SIZE })).a;
  return { a, ...(await engine.warp(a, { seed: warpSeed })) };
}

/** Starts the effects of one column: weights, features, and the results of the comparison. */
function startSide(store, engine, index) {
  const set = (patch) => {
    const sides = [...store.state.sides];
    sides[index] = { ...sides[index], ...patch };
    store.set({ sides });
  };
  const side = (state) => state.sides[index];
  /** Frees the pair and removes its results from the column. */
  const clear = (patch = {}) => {
    side(store.state).pair?.dispose();
    set({ pair: null, match: null, matches: null, pca: null, accuracy: null, ...patch });
  };
  /** The weights and pictures of the pair that is shown. */
  let shown = [];

  effect(store, (s) => [s.weights[index], s.files[index], s.attempt], async (state, signal) => {
    const choice = state.weights[index];
    if (!choice) return clear(emptySide());
    set({ phase: "weights", error: null });
    try {
      const weights = await engine.weights(weightsSource(choice, state.files[index]), { signal });
      if (!signal.aborted) set({ weights });
    } catch (error) {
      if (!signal.aborted && !isAbort(error)) clear({ ...emptySide(), phase: "error", error });
    }
  });

  effect(store, (s) => [side(s).weights, s.pictures, s.feature, s.stride, s.attempt], async (state, signal) => {
    const { weights } = side(state);
    if (!weights || !state.pictures) return;
    const { a, b, truth } = state.pictures;
    const { feature, stride } = state;
    // Results of other weights or pictures are removed at once, so that they are not mistaken for the new ones. Results
    // of another feature or stride stay until the new ones arrive, and so do those of weights that change all the time.
    if ((shown[0] !== weights && !state.live) || shown[1] !== state.pictures) clear();
    set({ phase: "features", error: null });
    try {
      const pair = await engine.pair(a, b, { weights, feature, stride, truth, signal, key: `side-${index}` });
      if (signal.aborted) return pair.dispose();
      const { pair: old, match, matches, pca, accuracy } = side(store.state);
      const stays = state.live && old?.feature === feature && old.stride === stride;
      clear({ phase: "ready", pair, ...(stays && { match, matches, pca, accuracy }) });
      shown = [weights, state.pictures];
    } catch (error) {
      if (!signal.aborted && !isAbort(error)) set({ phase: "error", error });
    }
  });

  // Starts an effect that requests a result from the current pair. A result is shown only if its pair is still current.
  // Results arrive in the order of the requests. A result is shown even if a newer request is waiting, because while
  // the pointer moves fast there is always a newer one.
  const ask = (key, dependencies, question) =>
    effect(store, (s) => [side(s).pair, ...dependencies(s)], async (state, signal) => {
      const { pair } = side(state);
      if (!pair) return;
      try {
        const answer = await question(pair, state);
        if (side(store.state).pair === pair) set({ [key]: answer });
      } catch (error) {
        if (!signal.aborted && !isAbort(error)) set({ phase: "error", error });
      }
    });

  ask("match", (s) => [s.point && side(s).pair && cellAt(side(s).pair.gridA, ...s.point)],
    (pair, { point }) => (point ? pair.match(cellAt(pair.gridA, ...point)) : null));
  ask("matches", (s) => [s.view === "matches", s.threshold],
    (pair, { view, threshold }) => (view === "matches" ? pair.matches(threshold) : null));
  ask("pca", (s) => [s.view === "pca"], (pair, { view }) => (view === "pca" ? pair.pca() : null));
  ask("accuracy", () => [], (pair) => pair.accuracy());
}

/** URLs of the weights that are files of the host. */
const HOSTS = { trained: SHIPPED, supervised: SUPERVISED };

const weightsSource = (choice, file) =>
  choice in HOSTS ? new URL(HOSTS[choice], document.baseURI).href : choice === "file" ? file : "untrained";

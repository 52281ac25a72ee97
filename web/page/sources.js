/**
 * The sources of pictures and weights: two photographs, rendered scenes, warps, and files that are picked, dropped or
 * pasted. Files are not uploaded.
 */
import { byId, element } from "./dom.js";
import { HOSTED, PHOTOS } from "./state.js";

const WEIGHTS_FILE = /\.(safetensors|pth|pt)$/i;

const randomSeed = () => Math.floor(Math.random() * 100_000);

export function startSources(store, { pictureAt }) {
  const pickPictures = picker({ accept: "image/*", multiple: true }, (files) => takePictures(store, files));
  startKinds(store, pickPictures);
  startDrop(store, pictureAt);
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(store, files, null);
  });
  return {
    /** Lets the visitor pick a file of weights for a column. */
    chooseWeights(index) {
      picker({ accept: ".safetensors,.pth,.pt" }, ([file]) => takeWeights(store, file, index))();
    },
  };
}

/** Whether this host has a supervised network. It is asked only for its list of weights, which always exists. */
export async function offersSupervised() {
  try {
    const answer = await fetch(new URL(HOSTED, document.baseURI));
    return (await answer.json()).includes("supervised");
  } catch {
    return false;
  }
}

/** Connects the choice between the kinds of pairs, and the button that makes another pair of the same kind. */
function startKinds(store, pickPictures) {
  const another = byId("another");
  byId("pick").addEventListener("click", pickPictures);
  byId("new-pair").addEventListener("click", () => newScene(store));
  another.addEventListener("click", () => {
    const { kind, warpSeed } = store.state;
    if (kind === "warp") store.set({ warpSeed: warpSeed + 1 });
    else newScene(store);
  });
  const inputs = [...document.querySelectorAll("input[type=radio][name=kind]")];
  for (const input of inputs) {
    input.addEventListener("change", () => {
      const { own } = store.state;
      if (["photos", "scene"].includes(input.value)) store.set({ kind: input.value, own: [null, null], notice: null });
      if (input.value === "warp") store.set({ kind: "warp", own: [own[0], null] });
      if (input.value === "own") store.set({ kind: "own" });
      if (input.value === "own" && !own[0]) pickPictures();
    });
  }
  store.subscribe(({ kind, own }) => {
    for (const input of inputs) input.checked = input.value === kind;
    another.hidden = kind === "own" || kind === "photos";
    another.textContent = kind === "warp" ? "Another warp" : "Another scene";
    byId("own-hint").hidden = kind === "photos" || kind === "scene" || Boolean(own[1]);
  });
}

function newScene(store) {
  store.set({ kind: "scene", seed: randomSeed(), own: [null, null], notice: null });
}

/** A function that opens the browser's file dialogue. */
function picker(attributes, receive) {
  return () => {
    const input = element("input", { type: "file", ...attributes });
    input.addEventListener("change", () => receive([...input.files]));
    input.click();
  };
}

function startDrop(store, pictureAt) {
  const veil = byId("drop-veil");
  let depth = 0;
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const show = (by) => {
    depth = Math.max(0, depth + by);
    veil.hidden = depth === 0;
  };
  addEventListener("dragenter", (event) => carriesFiles(event) && show(1));
  addEventListener("dragleave", (event) => carriesFiles(event) && show(-1));
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    show(-depth);
    if (store.state.onDrop?.(event.dataTransfer)) return;
    take(store, [...event.dataTransfer.files], pictureAt(event.clientX, event.clientY));
  });
}

/** Takes files of any kind: weights are shown in the second column, all other files are tried as pictures. */
function take(store, files, place) {
  const weights = files.find(({ name }) => WEIGHTS_FILE.test(name));
  if (weights) takeWeights(store, weights, 1);
  const pictures = files.filter((file) => !WEIGHTS_FILE.test(file.name));
  if (pictures.length) takePictures(store, pictures, place);
}

/**
 * Takes pictures. Two pictures become a pair. A single picture replaces the picture that it was dropped on. If it was
 * not dropped on a picture, it becomes the second picture when the visitor has given only one so far; otherwise it is
 * compared with a warp of itself.
 */
function takePictures(store, files, place = null) {
  if (!files.length) return;
  const { kind, own } = store.state;
  const waiting = kind !== "scene" && own[0] && !own[1];
  const shown = kind === "photos" ? PHOTOS : own;
  const [first, second] = files;
  let next;
  if (second) next = [first, second];
  else if (place === "b" || (waiting && place === null)) next = [shown[0], first];
  else next = [first, kind !== "warp" && place === "a" ? shown[1] : null];
  store.set({ kind: next[1] ? "own" : "warp", own: next, notice: null });
}

function takeWeights(store, file, index) {
  if (!file) return;
  const [files, weights] = [[...store.state.files], [...store.state.weights]];
  files[index] = file;
  weights[index] = "file";
  store.set({ files, weights, notice: null });
}

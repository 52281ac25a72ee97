/** The status displays of the page: device, progress, timings, notices, and a live region for screen readers. */
import { byId, element } from "./dom.js";
import { deviceName, megabytes, milliseconds, spokenMatch, timings } from "./words.js";

/** @returns {(message: string) => void} a function that shows a notice */
export function startStatus(store) {
  const say = (notice) => store.set({ notice });
  const badge = byId("device");
  const progress = byId("progress");
  const live = byId("live");
  let shownProblem = null;

  store.subscribe((state) => {
    showDevice(badge, state);
    showProgress(progress, state);
    byId("timings").textContent = timings(state);
    byId("provenance").textContent = provenance(state);
    const spoken = state.spoken ? spokenMatch(state, shownSides(state)) : "";
    if (live.textContent !== spoken) live.textContent = spoken;

    const problem = state.picturesError ?? state.notice;
    if (problem !== shownProblem) showNotice(store, problem);
    shownProblem = problem;
  });
  return say;
}

const shownSides = ({ sides, weights }) => sides.filter((_, index) => weights[index] !== null);

function showDevice(badge, { device, engineError, sides }) {
  badge.dataset.kind = engineError ? "none" : device?.kind ?? "starting";
  const took = sides[0].pair ? ` · ${milliseconds(sides[0].pair.ms.features)}` : "";
  badge.textContent = engineError ? "not running" : device ? deviceName(device) + took : "starting…";
  badge.title = device
    ? `Runs on ${deviceName(device)}: ${device.reason}. Self-test passed in ${milliseconds(device.selfTestMs)}.` +
      (took && " The time is that of the features of both pictures.")
    : "";
}

/** Shows one progress bar for module and weights until the first pair is computed; later work shows in its column. */
function showProgress(box, { kind, progress, pictures, picturesBusy, picturesError, engineError, sides }) {
  const waiting = !sides[0].pair && !engineError && !picturesError && !sides[0].error;
  box.hidden = !waiting;
  if (!waiting) return;
  const fraction = progress?.fraction ?? 0;
  const loaded = fraction >= 1 && sides[0].weights;
  byId("progress-bar").value = loaded ? 1 : fraction;
  byId("progress-words").textContent =
    !progress ? "Starting…"
    : !loaded ? fetching(progress)
    : kind === "scene" && (picturesBusy || !pictures) ? "Rendering a scene…"
    : "Reading both pictures…";
}

const fetching = ({ loaded, total, cached }) =>
  cached ? `Reading the network from your browser's cache: ${megabytes(total)}`
  : `Fetching the network: ${megabytes(loaded)} of ${megabytes(total)}`;

/** The exact identity of the weights shown: name, number of parameters, size and hash. */
function provenance(state) {
  return shownSides(state).filter(({ weights }) => weights).map(({ weights }) => {
    const { bytes, cached, sha256, info, name } = weights;
    const size = bytes ? `, ${megabytes(bytes)}${cached ? " from cache" : ""}` : "";
    const hash = sha256 ? `, sha256 ${sha256.slice(0, 12)}…` : "";
    return `${name}: ${(info.parameters / 1e6).toFixed(2)} M parameters${size}${hash}`;
  }).join(" · ");
}

function showNotice(store, problem) {
  const box = byId("notice");
  box.hidden = !problem;
  if (!problem) return box.replaceChildren();
  const isError = problem instanceof Error;
  const words = isError ? problem.message : problem;
  const buttons = isError ? remedies(store) : [button("Close", () => store.set({ notice: null }))];
  box.classList.toggle("is-error", isError);
  box.replaceChildren(element("p", {}, words), element("div", { class: "buttons" }, ...buttons));
}

function remedies(store) {
  const { state } = store;
  const scene = () => store.set({ kind: "scene", own: [null, null], picturesError: null });
  return [
    button("Try again", () => store.set({ attempt: state.attempt + 1 })),
    ...(state.own.some(Boolean) ? [button("Back to a rendered scene", scene)] : []),
  ];
}

function button(label, onClick) {
  const made = element("button", { type: "button" }, label);
  made.addEventListener("click", onClick);
  return made;
}

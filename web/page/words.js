/** Texts and bars for results: those of a column, for screen readers, and the line of timings. */
import { finiteRange } from "../dense-match/draw.js";
import { element } from "./dom.js";
import { shownMatches } from "./state.js";

const ARCHITECTURES = { resnet: "ResNet-" };
const percent = (share) => `${Math.round(share * 100)} %`;
const pixels = (distance) => `${distance.toFixed(distance < 9.95 ? 1 : 0)} px`;

/** Formats bytes: `2460000` as "2.5 MB". */
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

const architecture = (backbone) =>
  Object.entries(ARCHITECTURES).reduce((name, [from, to]) => name.replace(from, to), backbone ?? "");

/** The weights of a column. @param {import("./state.js").Side} side @param {File | null} file the visitor's own file */
export function weightsLine({ weights, phase }, choice, file) {
  const names = { trained: "Trained", untrained: "Untrained", supervised: "Supervised", file: file?.name };
  const name = names[choice] ?? "";
  return [element("strong", {}, name), element("span", { class: "quiet" }, weightsDetail(weights, phase))];
}

function weightsDetail(weights, phase) {
  if (phase === "weights") return "fetching the weights…";
  if (phase === "features") return "reading both pictures…";
  if (!weights) return "";
  return [architecture(weights.info.backbone), training(weights.info)].filter(Boolean).join(", ");
}

function training({ steps, data, method }) {
  if (method === "unknown") return "weights of another program";
  if (steps === 0) return "random weights";
  const how = method === "mocov2" ? "MoCo v2" : "DenseCL";
  return `${steps.toLocaleString("en")} steps of ${how}${data ? ` on ${data}` : ""}`;
}

/** The results below the pictures of a column. */
export function matchLine(state, side) {
  return state.view === "matches" ? matchesWords(state, side) : pointWords(state, side);
}

function pointWords({ point, pictures, truthShown, view, pinned }, { match }) {
  if (!point) return [element("span", { class: "quiet" }, "Move the pointer over the first picture.")];
  if (!match) return [];
  const words = [element("span", {}, mark("found"), "cosine ", element("b", {}, match.score.toFixed(2)))];
  if (pictures?.truth && truthShown) words.push(truthWords(match));
  if (view === "heatmap") words.push(scale(match.row));
  if (pinned && matchMedia("(hover: hover)").matches) {
    words.push(element("span", { class: "quiet long" }, "pinned; click to let go"));
  }
  return words;
}

function truthWords({ truth, error }) {
  if (!truth) return element("span", { class: "quiet" }, mark("truth"), "hidden in the second picture");
  const from = element("span", { class: "long" }, " from the truth");
  return element("span", {}, mark("truth"), element("b", {}, pixels(error)), from);
}

/** The legend of a heat map. Its upper end is the match's cosine, which is shown next to it. */
function scale(row) {
  const [low] = finiteRange(row);
  return element("span", { class: "scale quiet long", title: "Cosine, from the least to the most similar cell" },
    low.toFixed(2), element("i", { class: "viridis", "aria-hidden": "true" }), "best");
}

function matchesWords(state, side) {
  if (!side.matches) return [];
  const { threshold, truthShown } = state;
  const matches = shownMatches(state, side.matches);
  const known = matches.filter(({ correct }) => correct !== null);
  const right = known.filter(({ correct }) => correct).length;
  const noun = matches.length === 1 ? "match" : "matches";
  const words = [
    element("span", {}, element("b", {}, String(matches.length)), ` mutual ${noun} over ${threshold.toFixed(2)}`),
  ];
  if (known.length && truthShown) {
    words.push(
      element("span", {}, mark("right"), element("b", {}, String(right)), " right"),
      element("span", {}, mark("wrong"), element("b", {}, String(known.length - right)), " wrong"),
    );
    const hidden = matches.length - known.length;
    if (hidden) words.push(element("span", { class: "quiet" }, mark("hidden-point"), `${hidden} hidden there`));
  }
  const leftOut = side.matches.length - matches.length;
  if (leftOut) words.push(element("span", { class: "quiet long" }, `${leftOut} at the border left out`));
  return words;
}

const mark = (kind) => element("i", { class: `mark ${kind}`, "aria-hidden": "true" });

/** The accuracy of a column over the whole picture: PCK, the share of points found close to their true position. */
export function accuracyLine({ pictures, truthShown }, { accuracy, phase }) {
  if (!truthShown || !pictures?.truth) return [];
  const measuring = element("p", { class: "quiet" }, "measuring over the whole picture…");
  if (!accuracy) return phase === "ready" ? [measuring] : [];
  const { pck05, pck10, meanError, cells } = accuracy;
  return [
    bar("PCK@0.1", pck10, "of the points are found within a tenth of the picture's longer side"),
    bar("PCK@0.05", pck05, "of the points are found within a twentieth of it"),
    element("p", { class: "quiet" }, `${cells} points with a known answer; mean error ${pixels(meanError)}`),
  ];
}

function bar(label, share, explanation) {
  const fill = element("span", { class: "fill" });
  fill.style.inlineSize = `${share * 100}%`;
  return element("p", { class: "bar", title: `${percent(share)} ${explanation}` },
    element("span", { class: "bar-name" }, label), element("span", { class: "track", "aria-hidden": "true" }, fill),
    element("b", {}, percent(share)));
}

/** One sentence for a screen reader about the point that was chosen with the keyboard. */
export function spokenMatch({ point, pictures, pinned }, sides) {
  if (!point) return "";
  const at = ([u, v]) => `${percent(u)} from the left, ${percent(v)} from the top`;
  const found = sides.filter(({ match }) => match).map(({ match }, index) => {
    const which = sides.length > 1 ? `Column ${index + 1}: ` : "";
    const truth = match.truth ? `${pixels(match.error)} from the truth` : "hidden there in truth";
    return `${which}found at ${at(match.point)}, cosine ${match.score.toFixed(2)}${pictures?.truth ? `, ${truth}` : ""}.`;
  });
  return `Point${pinned ? " pinned" : ""} at ${at(point)}. ${found.join(" ")}`;
}

/** The line of timings. */
export function timings({ sides, weights, device, pictures }) {
  const parts = [];
  sides.forEach(({ pair }, index) => {
    if (!pair || weights[index] === null) return;
    const [rows, columns] = pair.gridA;
    const { features, similarity } = pair.ms;
    const which = weights[1] === null ? "" : `${index === 0 ? "first" : "second"} column: `;
    parts.push(`${which}features of both pictures ${milliseconds(features)}, all ${rows * columns} × ` +
      `${pair.gridB[0] * pair.gridB[1]} similarities ${milliseconds(similarity)}`);
  });
  if (pictures) parts.push(`pictures of ${pictures.a.width} × ${pictures.a.height} px`);
  if (device) parts.push(deviceName(device));
  return parts.join(" · ");
}

/** Formats milliseconds: `1240` as "1.2 s", `2.34` as "2.3 ms". */
export const milliseconds = (ms) =>
  ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : ms < 9.95 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;

/** The name of the device on the badge. */
export const deviceName = ({ kind, name }) =>
  ({ gpu: `GPU${name ? `: ${name}` : ""}`, software: "software GPU", cpu: "CPU" })[kind];

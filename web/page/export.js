/** Exports results as files: the current view as PNG, the mutual matches as SVG and CSV. */
import { layout, lineColour, pointAt, prepare } from "../dense-match/draw.js";
import { byId, download } from "./dom.js";
import { lineColours, paint } from "./paint.js";
import { shownMatches } from "./state.js";

/** Width of an exported picture of one column in pixels; two columns are twice as wide. */
const WIDTH = 1200;
const GAP = 12;
/** Units of the SVG per pixel of the network's input. */
const SVG_SCALE = 3;

export function startExport(store, say) {
  const actions = { png: exportPng, svg: exportSvg, csv: exportCsv };
  for (const [kind, action] of Object.entries(actions)) {
    byId(`export-${kind}`).addEventListener("click", async () => {
      const { state } = store;
      if (!state.sides[0].pair) return say("There is nothing to save yet: the network has not read the pictures.");
      try {
        await action(state);
      } catch (error) {
        say(`The file could not be made: ${error.message}`);
      }
    });
  }
  byId("copy-link").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      say("The link is copied. It restores what you see, except files of your own, which never leave this browser.");
    } catch {
      say("This browser does not let the page copy; the address bar holds the same link.");
    }
  });
}

/** The visible columns with results. */
const shown = ({ sides, weights }) => sides.filter((side, index) => weights[index] !== null && side.pair);

const fileName = ({ view, kind, seed }, extension) =>
  `densecl-${view}-${{ photos: kind, own: "pictures" }[kind] ?? `${kind}-${seed}`}.${extension}`;

async function exportPng(state) {
  const columns = shown(state);
  const { a, b } = state.pictures;
  const canvas = document.createElement("canvas");
  const place = layout(WIDTH, a, b, { gap: GAP });
  const context = prepare(canvas, columns.length * (WIDTH + GAP) - GAP, place.height, 1);
  columns.forEach((side, index) => {
    context.save();
    context.translate(index * (WIDTH + GAP), 0);
    paint(context, place, { ...state, side });
    context.restore();
  });
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("the browser returned no picture");
  download(blob, fileName(state, "png"));
}

/** Computes the mutual matches of each visible column, because other views than the match view do not compute them. */
const allMatches = (state) =>
  Promise.all(shown(state).map(async ({ pair }) => shownMatches(state, await pair.matches(state.threshold))));

async function exportSvg(state) {
  const { a, b } = state.pictures;
  const size = (picture) => ({ width: picture.width * SVG_SCALE, height: picture.height * SVG_SCALE });
  const place = layout(size(a).width + size(b).width + GAP, size(a), size(b), { gap: GAP, minWidth: 0 });
  const lists = await allMatches(state);
  const namespace = "http://www.w3.org/2000/svg";
  const node = (tag, attributes) => {
    const made = document.createElementNS(namespace, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
    return made;
  };
  const height = lists.length * (place.height + GAP) - GAP;
  const svg = node("svg", { width: place.width, height, viewBox: `0 0 ${place.width} ${height}` });
  lists.forEach((matches, index) => {
    const group = node("g", { transform: `translate(0 ${index * (place.height + GAP)})` });
    for (const [picture, rect] of [[a, place.a], [b, place.b]]) {
      group.append(node("image", { ...rect, href: dataUrl(picture, rect), preserveAspectRatio: "none" }));
    }
    for (const { a: from, b: to, score, correct } of [...matches].reverse()) {
      const [x1, y1] = pointAt(place.a, from);
      const [x2, y2] = pointAt(place.b, to);
      const level = (score - state.threshold) / Math.max(1 - state.threshold, 1e-6);
      const stroke = lineColour(correct, level, lineColours(state));
      group.append(node("line", { x1, y1, x2, y2, stroke, "stroke-width": 2, "stroke-linecap": "round" }));
      for (const [cx, cy] of [[x1, y1], [x2, y2]]) group.append(node("circle", { cx, cy, r: 3.5, fill: stroke }));
    }
    svg.append(group);
  });
  const text = new XMLSerializer().serializeToString(svg);
  download(new Blob([text], { type: "image/svg+xml" }), fileName(state, "svg"));
}

function dataUrl({ preview }, { width, height }) {
  const canvas = document.createElement("canvas");
  prepare(canvas, width, height, 1).drawImage(preview, 0, 0, width, height);
  // With photographs as PNG the file would be ten times larger.
  return canvas.toDataURL("image/jpeg", 0.9);
}

/** One row per match. Positions are in pixels of the network's inputs, x to the right, y down. */
async function exportCsv(state) {
  const { a, b } = state.pictures;
  const columns = shown(state);
  const rows = [["weights", "x_a", "y_a", "x_b", "y_b", "cosine", "correct"]];
  (await allMatches(state)).forEach((matches, index) => {
    const { name } = columns[index].weights;
    for (const { a: from, b: to, score, correct } of matches) {
      const places = [from[0] * a.width, from[1] * a.height, to[0] * b.width, to[1] * b.height];
      const known = correct === null ? "" : String(correct);
      rows.push([quoted(name), ...places.map((t) => t.toFixed(2)), score.toFixed(5), known]);
    }
  });
  const text = rows.map((row) => row.join(",")).join("\r\n") + "\r\n";
  download(new Blob([text], { type: "text/csv" }), fileName(state, "csv"));
}

/** Quotes a name as a CSV field. A file's name may contain commas and quotes, or begin like a formula. */
const quoted = (text) => `"${text.replace(/^[=+\-@]/, "'$&").replaceAll('"', '""')}"`;

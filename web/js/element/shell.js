/** The shadow tree of `<dense-match>`: its elements and its style sheet. It is built without HTML strings and style
* attributes, which strict security policies (CSP, Trusted Types) forbid. */

const STYLE = `
:host {
  --_background: var(--dense-match-background, light-dark(#f3f4f6, #17191d));
  --_color: var(--dense-match-color, light-dark(#22262e, #e7e9ee));
  --_faint: color-mix(in srgb, var(--_color) 72%, transparent);
  --_accent: var(--dense-match-accent, light-dark(#3454d1, #8ea8ff));
  --_radius: var(--dense-match-radius, 10px);
  --_gap: var(--dense-match-gap, 8px);
  display: block;
  contain: layout paint style;
  color: var(--_color);
  font: var(--dense-match-font, 400 13px/1.4 system-ui, sans-serif);
  font-variant-numeric: tabular-nums;
  -webkit-tap-highlight-color: transparent;
}
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
.frame { position: relative; }
.stage {
  position: relative;
  min-width: 0;
  aspect-ratio: var(--dense-match-aspect-ratio, 2 / 1);
  max-height: var(--dense-match-max-height, none);
  border-radius: var(--_radius);
  outline: none;
  overflow: hidden;
  touch-action: pan-y pinch-zoom;
  user-select: none;
  -webkit-user-select: none;
}
.stage.sized { aspect-ratio: auto; }
canvas { display: block; }
.ready canvas { cursor: crosshair; }
.waiting canvas { opacity: 0.55; }
.stage:focus-visible { outline: 3px solid var(--_accent); outline-offset: -3px; }
.ghost { position: absolute; inset: 0; display: flex; gap: var(--_gap); }
.ghost i { flex: 1; border-radius: var(--_radius); background: color-mix(in srgb, var(--_color) 10%, transparent); }
.poster { position: absolute; inset: 0; border-radius: var(--_radius); overflow: hidden; }
.poster img, .poster ::slotted(img) { width: 100%; height: 100%; object-fit: cover; display: block; }
.progress {
  position: absolute;
  inset: auto 12px 12px;
  max-width: 400px;
  margin: auto;
  padding: 9px 12px 11px;
  border-radius: calc(var(--_radius) * 0.8);
  color: var(--_color);
  background: color-mix(in srgb, var(--_background) 88%, transparent);
  backdrop-filter: blur(8px);
  pointer-events: none;
}
.track { height: 4px; margin-top: 6px; border-radius: 2px; overflow: hidden; background: color-mix(in srgb, var(--_color) 16%, transparent); }
.track i {
  display: block;
  height: 100%;
  border-radius: 2px;
  background: var(--_accent);
  transform-origin: left;
  transform: scaleX(var(--dense-match-progress));
}
.endless .track i { width: 30%; transform: none; animation: glide 1.3s ease-in-out infinite alternate; }
@keyframes glide { from { transform: translateX(0); } to { transform: translateX(233%); } }
.error {
  position: absolute;
  inset: 0;
  display: flex;
  flex-direction: column;
  align-items: center;
  justify-content: center;
  gap: 12px;
  padding: 16px;
  overflow: auto;
  text-align: center;
  border-radius: var(--_radius);
  background: color-mix(in srgb, var(--_background) 90%, transparent);
  backdrop-filter: blur(6px);
}
.error p { margin: 0; max-width: 46ch; font-size: 1.08em; text-wrap: balance; overflow-wrap: anywhere; }
.error::before {
  content: "!";
  flex: none;
  width: 34px;
  font-size: 20px;
  font-weight: 700;
  line-height: 34px;
  border-radius: 50%;
  color: var(--_background);
  background: light-dark(#c2570c, #f0a45d);
}
button {
  flex: none;
  padding: 7px 16px;
  font: inherit;
  font-weight: 600;
  color: light-dark(#fff, #11131a);
  background: var(--_accent);
  border: 0;
  border-radius: 99px;
  cursor: pointer;
}
button:hover { filter: brightness(1.08); }
button:focus-visible { outline: 2px solid var(--_color); outline-offset: 2px; }
.footer { display: flex; flex-wrap: wrap; align-items: center; gap: 3px 14px; min-height: 30px; padding: 6px 2px 2px; }
.readout { flex: 1 1 auto; min-width: 0; }
.legend { display: flex; align-items: center; gap: 6px; color: var(--_faint); }
.ramp { width: 64px; height: 8px; border-radius: 4px; background: linear-gradient(90deg, #440154, #414487, #2a788e, #22a884, #7ad151, #fde725); }
.badge {
  display: flex;
  align-items: center;
  gap: 6px;
  min-width: 0;
  max-width: 100%;
  padding: 1px 10px 1px 8px;
  border: 1px solid color-mix(in srgb, var(--_color) 18%, transparent);
  border-radius: 99px;
  color: var(--_faint);
  white-space: nowrap;
}
.badge b { font-weight: 600; color: var(--_color); }
.badge .adapter { overflow: hidden; text-overflow: ellipsis; }
.badge :empty:not(i) { display: none; }
.badge i { flex: none; width: 8px; height: 8px; border-radius: 50%; background: #7c8698; }
.badge[data-kind="gpu"] i { background: #2fae66; }
.badge[data-kind="software"] i { background: #d99a1c; }
.badge[data-kind="cpu"] i { background: #4d8df0; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (prefers-reduced-motion: no-preference) {
  canvas { transition: opacity 0.25s; }
  .track i { transition: transform 0.2s; }
}
@media (prefers-reduced-motion: reduce) {
  .endless .track i { width: 100%; animation: none; opacity: 0.5; }
}
`;

const LABEL = "Two pictures compared. Arrow keys move a point over picture A, Enter pins it, Escape clears it.";

let sheet;
function styleSheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
  }
  return sheet;
}

/** Creates an element with attributes and children. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A class for this style sheet and a part for the page's `::part()`, with the same name. */
const named = (name) => ({ class: name, part: name });

/** Fills a shadow root and returns the nodes that the element changes later. */
export function build(root) {
  root.adoptedStyleSheets = [styleSheet()];
  const canvas = h("canvas", { part: "canvas" });
  const posterImage = h("img", { alt: "", part: "poster-image", hidden: "" });
  const posterSlot = h("slot", { name: "poster" }, posterImage);
  const progressText = h("span", { part: "progress-text" });
  const message = h("p", { part: "message" });
  const retry = h("button", { type: "button", part: "retry" }, "Try again");
  const badgeTexts = [h("b"), h("span"), h("span", { class: "adapter" })];
  const [low, high] = [h("span"), h("span")];
  const ui = {
    canvas, posterImage, posterSlot, progressText, message, retry, badgeTexts, low, high,
    stage: h("div", { ...named("stage"), tabindex: "0", role: "application", "aria-label": LABEL }, canvas),
    ghost: h("div", { class: "ghost" }, h("i"), h("i")),
    poster: h("div", named("poster"), posterSlot),
    progress: h("div", { ...named("progress"), hidden: "" },
      h("slot", { name: "progress-bar" }, progressText, h("div", { class: "track", part: "progress-bar" }, h("i", { part: "progress-value" })))),
    error: h("div", { ...named("error"), role: "alert", hidden: "" }, message, retry),
    readout: h("span", { ...named("readout"), "aria-hidden": "true" }),
    legend: h("span", { ...named("legend"), "aria-hidden": "true", hidden: "" }, low, h("i", { class: "ramp", part: "ramp" }), high),
    badge: h("span", { ...named("badge"), hidden: "" }, h("i"), ...badgeTexts),
    spoken: h("div", { class: "spoken", "aria-live": "polite" }),
  };
  ui.stage.prepend(ui.ghost);
  ui.frame = h("div", { class: "frame" }, ui.stage, ui.poster, ui.progress, ui.error);
  root.append(ui.frame, h("div", named("footer"), ui.readout, ui.legend, ui.badge), ui.spoken);
  return ui;
}

/**
 * Until the visitor uses the pictures, the point moves over the first picture automatically to show what the page does.
 * On the photographs it rests on the nose; for visitors who prefer reduced motion it rests, too.
 */
import { NOSE } from "./state.js";

const REST = [0.7, 0.36];
/** Duration of one round in seconds. */
const PERIOD = 24;
/** Milliseconds between two steps, long enough that the worker is free for other requests. */
const STEP = 80;

/** The path of the point, a slow Lissajous figure around the middle of the picture. */
const path = (seconds) => {
  const t = (2 * Math.PI * seconds) / PERIOD;
  return [0.5 + 0.34 * Math.sin(2 * t + 0.9), 0.56 + 0.26 * Math.sin(3 * t)];
};

export function startTour(store, stage) {
  const { kind, point } = store.state;
  if (point) return;
  const onPhotos = kind === "photos";
  if (onPhotos || matchMedia("(prefers-reduced-motion: reduce)").matches) {
    store.set({ point: onPhotos ? NOSE : REST });
    return;
  }
  let visible = true;
  const observer = new IntersectionObserver(([entry]) => (visible = entry.isIntersecting));
  observer.observe(stage);

  let seconds = 0;
  const timer = setInterval(() => {
    if (!visible || document.hidden || !store.state.sides[0].pair) return;
    seconds += STEP / 1000;
    store.set({ point: path(seconds), touring: true });
  }, STEP);

  const stop = () => {
    clearInterval(timer);
    observer.disconnect();
    for (const type of STOPPERS) stage.removeEventListener(type, stop);
    store.set({ touring: false });
  };
  for (const type of STOPPERS) stage.addEventListener(type, stop);
}

const STOPPERS = ["pointerdown", "pointermove", "keydown", "touchstart"];

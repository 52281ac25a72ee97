/**
 * Until the visitor takes over, the point wanders over the first picture by itself, so that the page explains itself
 * before anything is touched. Who prefers less motion gets a resting point.
 */

const REST = [0.7, 0.36];
/** Seconds for one round. */
const PERIOD = 24;
/** Milliseconds between two steps: slow enough to leave the worker time for the pointer. */
const STEP = 80;

/** A slow figure over the middle of the picture. */
const path = (seconds) => {
  const t = (2 * Math.PI * seconds) / PERIOD;
  return [0.5 + 0.34 * Math.sin(2 * t + 0.9), 0.56 + 0.26 * Math.sin(3 * t)];
};

export function startTour(store, stage) {
  if (store.state.point) return;
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    store.set({ point: REST });
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

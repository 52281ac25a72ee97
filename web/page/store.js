/**
 * The one place where the page keeps what it knows. Views are functions of it; effects (see `effect`) do what its
 * changes ask for. Nothing else holds state that two parts of the page share.
 */

/**
 * @template {object} S
 * @param {S} initial
 */
export function createStore(initial) {
  let state = initial;
  let queued = false;
  const listeners = new Set();

  const notify = () => {
    queued = false;
    for (const listener of listeners) listener(state);
  };

  return {
    /** @returns {Readonly<S>} */
    get state() {
      return state;
    },
    /** Replaces some keys, and tells listeners once per turn of the event loop. @param {Partial<S>} patch */
    set(patch) {
      if (Object.keys(patch).every((key) => Object.is(state[key], patch[key]))) return;
      state = { ...state, ...patch };
      if (queued) return;
      queued = true;
      queueMicrotask(notify);
    },
    /** @param {(state: Readonly<S>) => void} listener called at once, and after every change */
    subscribe(listener) {
      listeners.add(listener);
      listener(state);
    },
  };
}

/**
 * Runs `run` whenever one of the values that `dependencies` picks has changed. The run before is aborted by its
 * signal, so what it still finds out is known to be stale.
 *
 * @template S
 * @param {{subscribe: (listener: (state: S) => void) => void}} store
 * @param {(state: S) => unknown[]} dependencies
 * @param {(state: S, signal: AbortSignal) => void} run
 */
export function effect(store, dependencies, run) {
  let last = null;
  let controller = null;
  store.subscribe((state) => {
    const now = dependencies(state);
    if (last && now.every((value, index) => Object.is(value, last[index]))) return;
    last = now;
    controller?.abort();
    controller = new AbortController();
    run(state, controller.signal);
  });
}

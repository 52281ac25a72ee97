/**
 * The store holds all state that parts of the page share. Views are functions of the state; effects (see `effect`) run
 * when it changes.
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
    /** Replaces some keys. Listeners are called once for all changes of a task. @param {Partial<S>} patch */
    set(patch) {
      if (Object.keys(patch).every((key) => Object.is(state[key], patch[key]))) return;
      state = { ...state, ...patch };
      if (queued) return;
      queued = true;
      queueMicrotask(notify);
    },
    /** @param {(state: Readonly<S>) => void} listener called immediately and after every change */
    subscribe(listener) {
      listeners.add(listener);
      listener(state);
    },
  };
}

/**
 * Calls `run` at the start and whenever one of the values that `dependencies` returns has changed. The signal of the
 * previous call is aborted, so that it can drop results that are out of date.
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

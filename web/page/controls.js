/**
 * Connects the radio groups, the slider, switches and menus of index.html with the store. Each shows the value of a key
 * and writes changes back. They are standard form elements, so keyboards and screen readers need no additional code.
 */
import { byId } from "./dom.js";
import { firstPair } from "./state.js";

export function startControls(store, { chooseWeights }) {
  for (const name of ["view", "feature", "stride"]) radios(store, name);
  radios(store, "mode", (mode) => (store.state.kind === "photos" ? { kind: firstPair(mode) } : {}));
  slider(store);
  checkbox(store, "truth", "truthShown");
  checkbox(store, "border-matches", "borderMatches");

  const menus = [byId("weights-0"), byId("weights-1")];
  menus.forEach((menu, index) => {
    menu.addEventListener("change", () => {
      const choice = menu.value;
      if (choice === "pick") {
        // The column keeps its weights until a file has been picked.
        show(store.state);
        chooseWeights(index);
        return;
      }
      const weights = [...store.state.weights];
      weights[index] = choice === "none" ? null : choice;
      store.set({ weights });
    });
  });

  const show = (state) => {
    byId("truth-row").hidden = !state.pictures?.truth;
    byId("threshold-row").hidden = state.view !== "matches";
    menus.forEach((menu, index) => {
      const supervised = menu.querySelector("[value=supervised]");
      supervised.hidden = supervised.disabled = !state.supervisedOffered;
      const own = menu.querySelector("[value=file]");
      own.hidden = own.disabled = !state.files[index];
      if (state.files[index]) own.textContent = state.files[index].name;
      menu.value = state.weights[index] ?? "none";
    });
  };
  store.subscribe(show);
}

/** Connects the radio group whose inputs are named like a key of the store. `also`: what else a choice changes. */
function radios(store, name, also = () => ({})) {
  const inputs = [...document.querySelectorAll(`input[type=radio][name=${name}]`)];
  const typed = (value) => (typeof store.state[name] === "number" ? Number(value) : value);
  for (const input of inputs) {
    input.addEventListener("change", () => store.set({ [name]: typed(input.value), ...also(input.value) }));
  }
  store.subscribe((state) => {
    for (const input of inputs) input.checked = typed(input.value) === state[name];
  });
}

/** Connects a checkbox with a key of the store. */
function checkbox(store, id, key) {
  const input = byId(id);
  input.addEventListener("change", () => store.set({ [key]: input.checked }));
  store.subscribe((state) => (input.checked = state[key]));
}

function slider(store) {
  const [input, output] = [byId("threshold"), byId("threshold-value")];
  input.addEventListener("input", () => store.set({ threshold: Number(input.value) }));
  store.subscribe(({ threshold }) => {
    if (Number(input.value) !== threshold) input.value = String(threshold);
    output.textContent = threshold.toFixed(2);
  });
}

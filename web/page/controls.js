/**
 * Radio groups, the slider, switches and menus of index.html. Each shows a key of the store and writes it back; the
 * elements are the browser's own, so keyboard and screen reader need nothing more.
 */
import { byId } from "./dom.js";

export function startControls(store, { chooseWeights }) {
  for (const name of ["view", "feature", "stride"]) radios(store, name);
  slider(store);

  const truth = byId("truth");
  truth.addEventListener("change", () => store.set({ truthShown: truth.checked }));

  const menus = [byId("weights-0"), byId("weights-1")];
  menus.forEach((menu, index) => {
    menu.addEventListener("change", () => {
      const choice = menu.value;
      if (choice === "pick") {
        // Until a file has been picked the column stays what it was.
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
    truth.checked = state.truthShown;
    byId("truth-row").hidden = !state.pictures?.truth;
    byId("threshold-row").hidden = state.view !== "matches";
    menus.forEach((menu, index) => {
      const own = menu.querySelector("[value=file]");
      own.hidden = own.disabled = !state.files[index];
      if (state.files[index]) own.textContent = state.files[index].name;
      menu.value = state.weights[index] ?? "none";
    });
  };
  store.subscribe(show);
}

/** The radio group whose inputs carry the name of a key. */
function radios(store, name) {
  const inputs = [...document.querySelectorAll(`input[type=radio][name=${name}]`)];
  const typed = (value) => (typeof store.state[name] === "number" ? Number(value) : value);
  for (const input of inputs) {
    input.addEventListener("change", () => store.set({ [name]: typed(input.value) }));
  }
  store.subscribe((state) => {
    for (const input of inputs) input.checked = typed(input.value) === state[name];
  });
}

function slider(store) {
  const [input, output] = [byId("threshold"), byId("threshold-value")];
  input.addEventListener("input", () => store.set({ threshold: Number(input.value) }));
  store.subscribe(({ threshold }) => {
    if (Number(input.value) !== threshold) input.value = String(threshold);
    output.textContent = threshold.toFixed(2);
  });
}

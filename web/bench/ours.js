// This project's modules, through the package as a page uses it. Same interface as ort.js.
import { engine } from "/package/engine.js";

/** @param {"cpu" | "webgpu"} device */
export async function open(device, { weights: source, pictures, size, stride }) {
  const running = engine({ device: device === "cpu" ? "cpu" : "gpu" });
  const { kind } = await running.ready;
  // The engine falls back by itself; a bench must not.
  if ((kind === "cpu") !== (device === "cpu")) throw new Error(`asked for ${device}, got ${kind}: ${running.device.reason}`);
  const weights = await running.weights(source);
  const compare = async () => {
    // Decoded anew each time: features are cached per picture.
    const [a, b] = await Promise.all(pictures.map((url) => running.picture(url, { size })));
    return running.pair(a, b, { weights, feature: "stage4", stride });
  };
  return {
    async once() {
      const pair = await compare();
      pair.dispose();
      return pair.ms.features / 2;
    },
    async row(cell) {
      return [...(await (await compare()).match(cell)).row];
    },
  };
}

// The contender: onnxruntime-web. Same interface as ours.js.

const MEAN = [0.485, 0.456, 0.406];
const STD = [0.229, 0.224, 0.225];

/** A picture as the network's input, [1, 3, h, w]. */
async function input(ort, url) {
  const bitmap = await createImageBitmap(await (await fetch(url)).blob());
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const values = new Float32Array(3 * width * height);
  for (let c = 0, at = 0; c < 3; c++) {
    for (let i = c; i < data.length; i += 4) values[at++] = (data[i] / 255 - MEAN[c]) / STD[c];
  }
  return new ort.Tensor("float32", values, [1, 3, height, width]);
}

/** @param {"cpu" | "webgpu"} device */
export async function open(device, { model, pictures }) {
  const build = device === "cpu" ? "ort.wasm.min.mjs" : "ort.webgpu.min.mjs";
  const ort = await import(`/ort/${build}`);
  ort.env.wasm.numThreads = 1; // more need COOP and COEP, which a static host does not send
  ort.env.wasm.wasmPaths = "/ort/";
  const session = await ort.InferenceSession.create(model, { executionProviders: [device === "cpu" ? "wasm" : "webgpu"] });
  const inputs = await Promise.all(pictures.map((url) => input(ort, url)));
  const features = async (tensor) => {
    const output = (await session.run({ [session.inputNames[0]]: tensor }))[session.outputNames[0]];
    return { data: await output.getData(), dims: output.dims };
  };
  return {
    /** Milliseconds of one picture through the network, until its features are in JavaScript. */
    async once() {
      const started = performance.now();
      await features(inputs[0]);
      return performance.now() - started;
    },
    /** The similarities of one cell of the first picture with all cells of the second. */
    async row(cell) {
      const [a, b] = [await features(inputs[0]), await features(inputs[1])];
      const [, channels, rows, columns] = a.dims;
      const cells = rows * columns;
      const norm = (map, i) => {
        let sum = 0;
        for (let c = 0; c < channels; c++) sum += map.data[c * cells + i] ** 2;
        return Math.sqrt(sum);
      };
      return Array.from({ length: cells }, (_, j) => {
        let dot = 0;
        for (let c = 0; c < channels; c++) dot += a.data[c * cells + cell] * b.data[c * cells + j];
        return dot / (norm(a, cell) * norm(b, j));
      });
    },
  };
}

// The model in a worker of its own: a photo in, classes and the q and k of every layer out. The page goes on meanwhile.

import { fit, normalised } from "./pixels.js";

/** @type {any} */
let session = null;
/** @type {any} what explorer/web/site/page.py says of the model */
let about = null;

/** The photo's pixels on white, upright; a colour profile is ignored, as it is by the app and the models' libraries. */
function pixelsOf(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.fillStyle = "white";
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

async function load({ files: [model, wasm, weights], settings }) {
  about = settings;
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1;
  const options = { executionProviders: ["wasm"] };
  const path = settings.files.weights.split("/").pop();
  const externalData = weights ? [{ path, data: new Uint8Array(weights) }] : [];
  session = await ort.InferenceSession.create(new Uint8Array(model), { ...options, externalData });
  return { ready: true };
}

async function look({ bitmap, id }) {
  const rgb = fit(pixelsOf(bitmap), about.preparation);
  const [height, width] = about.preparation.input;
  const pixels = new ort.Tensor("float32", normalised(rgb, about.preparation), [1, 3, height, width]);
  const started = performance.now();
  const found = await session.run({ pixels });
  const { logits, q, k } = found;
  return { id, rgb, logits: logits ? logits.data : null, q: q.data, k: k.data, ms: performance.now() - started };
}

self.onmessage = async ({ data }) => {
  try {
    const made = data.files ? await load(data) : await look(data);
    const buffers = [made.rgb, made.logits, made.q, made.k].filter(Boolean).map((array) => array.buffer);
    self.postMessage(made, /** @type {any} */ ({ transfer: buffers }));
  } catch (error) {
    self.postMessage({ id: data.id, error: String(error instanceof Error ? error.message : error) });
  }
};

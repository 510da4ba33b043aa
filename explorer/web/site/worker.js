// The model in a worker of its own: a photo in, classes and the q and k of every layer out. The page goes on meanwhile.

import { fit, normalised } from "./pixels.js";

const ALIKE = 1e-3; // difference of two backends' numbers, relative to the largest, up to which they are the same

/** @type {any} */
let session = null;
/** @type {any} the same model on the GPU, until the first photo has shown which of both is kept */
let rival = null;
/** @type {any} what explorer/web/site/page.py says of the model */
let about = null;

const TILE = 4096; // pixels of a side: browsers leave a canvas that is too large for them empty, without a word

/** The photo's pixels on white, upright; a colour profile is ignored, as it is by the app and the models' libraries. */
function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  const data = new Uint8ClampedArray(4 * width * height);
  const canvas = new OffscreenCanvas(Math.min(width, TILE), Math.min(height, TILE));
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.fillStyle = "white";
  for (let y = 0; y < height; y += TILE) {
    for (let x = 0; x < width; x += TILE) {
      const [cols, rows] = [Math.min(TILE, width - x), Math.min(TILE, height - y)];
      context.fillRect(0, 0, cols, rows);
      context.drawImage(bitmap, -x, -y);
      const part = context.getImageData(0, 0, cols, rows).data;
      const line = (row) => part.subarray(row * cols * 4, (row + 1) * cols * 4);
      for (let row = 0; row < rows; row++) data.set(line(row), ((y + row) * width + x) * 4);
    }
  }
  bitmap.close();
  return { width, height, data };
}

async function load({ files: [model, wasm, weights], settings }) {
  about = settings;
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1;
  const path = settings.files.weights.split("/").pop();
  const externalData = weights ? [{ path, data: new Uint8Array(weights) }] : [];
  const open = (backend) => ort.InferenceSession.create(new Uint8Array(model), { executionProviders: [backend], externalData });
  session = await open("wasm");
  if (settings.webgpu && (await hasGpu())) rival = await open("webgpu").catch(() => null);
  return { ready: true };
}

/** Whether there is a GPU, and no program that plays one, which is slower than WebAssembly. */
async function hasGpu() {
  const gpu = /** @type {any} */ (navigator).gpu;
  const adapter = await gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && !adapter.info.isFallbackAdapter;
}

/** What the model makes of the pixels; of the first with both backends, of which the GPU stays if it is as right and sooner. */
async function answer(pixels) {
  if (!rival) return session.run({ pixels });
  const timed = async (some) => {
    const started = performance.now();
    return { found: await some.run({ pixels }), ms: performance.now() - started };
  };
  const ours = await timed(session);
  try {
    await timed(rival); // which also prepares its programs
    const theirs = await timed(rival);
    const same = Object.keys(ours.found).every((name) => alike(ours.found[name].data, theirs.found[name].data));
    if (same && theirs.ms < ours.ms) [session, rival] = [rival, session];
  } catch {
    // the GPU has too little memory, or was lost
  }
  await rival.release();
  rival = null;
  return ours.found;
}

function alike(ours, theirs) {
  let [most, largest] = [0, 0];
  for (let i = 0; i < ours.length; i++) {
    most = Math.max(most, Math.abs(ours[i] - theirs[i]));
    largest = Math.max(largest, Math.abs(ours[i]));
  }
  return most <= ALIKE * largest;
}

async function look({ bitmap, id }) {
  const rgb = fit(pixelsOf(bitmap), about.preparation);
  const [height, width] = about.preparation.input;
  const pixels = new ort.Tensor("float32", normalised(rgb, about.preparation), [1, 3, height, width]);
  const started = performance.now();
  const found = await answer(pixels);
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

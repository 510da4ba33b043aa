// The page around the canvas: photos and camera in, classes and the live map out. The model runs in worker.js.

import { LiveView } from "../canvas/view.js";

/**
 * @typedef {{
 *   grid: [number, number], prefix: string[], default_query: string, heads: number, depth: number, dim: number,
 *   scales: number[], classes: string[] | null, outputs: string, unsure: number | null, answers: string,
 *   preparation: import("./pixels.js").Preparation, colormaps: string[], tables: string, sample: string | null,
 *   bytes: number,
 * }} About what page.py writes as JSON
 */

const SHOWN = 5; // classes
const part = (name) => /** @type {any} */ (document.querySelector(`[data-part="${name}"]`));
const textOf = (id) => document.getElementById(id)?.textContent ?? "";
/** @type {About} */
const about = JSON.parse(textOf("about"));

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

/** A file of the page: inside it, or beside it; `progress` hears the share that has come. */
async function asset(name, size, progress) {
  const inside = document.getElementById(name);
  if (inside) return unpacked(bytesOf(inside.textContent));
  const answer = await fetch(name);
  if (!answer.ok || !answer.body) throw new Error(`${name} is missing beside this page`);
  /** @type {BlobPart[]} */
  const chunks = [];
  const reader = answer.body.getReader();
  let come = 0;
  for (let { value } = await reader.read(); value; { value } = await reader.read()) {
    chunks.push(value);
    progress((come += value.length) / size);
  }
  return unpacked(new Uint8Array(await new Blob(chunks).arrayBuffer()));
}

/** Bytes that may be compressed with gzip, as the runtime's are. */
async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.buffer;
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

const worker = new Worker(URL.createObjectURL(new Blob([textOf("worker")], { type: "text/javascript" })));
/** @type {((answer: any) => void)[]} */
const waiting = [];
worker.onmessage = ({ data }) => waiting.shift()?.(data);
worker.onerror = () => fail("This browser can't run the model: it needs workers and WebAssembly.");

/** Ask the worker; it answers in order. */
const ask = (message, transfer = []) =>
  new Promise((resolve) => {
    waiting.push(resolve);
    worker.postMessage(message, transfer);
  });

const view = new LiveView(document, (change) => (kept = { ...kept, ...change }));
/** @type {any} what a person chose on the canvas, for the next photo */
let kept = { layer: about.depth - 1, shows: "attention", head: "mean", query: about.default_query };
const tables = bytesOf(about.tables);
let newest = 0; // the photo that was asked for last
const loaded = load();
loaded.then(async (works) => {
  if (works && about.sample && !newest) await show(await (await fetch(about.sample)).blob());
  if (works) document.documentElement.dataset.ready = "true";
});

async function load() {
  try {
    const sizes = { model: 0, wasm: 0 };
    const progress = (name) => (share) => {
      sizes[name] = share;
      part("progress").value = 0.8 * sizes.model + 0.2 * sizes.wasm;
    };
    const [model, wasm] = await Promise.all([
      asset("model.onnx", about.bytes, progress("model")),
      asset("ort.wasm.gz", 3_700_000, progress("wasm")),
    ]);
    const answer = await ask({ model, wasm, settings: about }, [model, wasm]);
    if (answer.error) throw new Error(answer.error);
    part("progress").hidden = true;
    say("Ready.");
    return true;
  } catch (error) {
    fail(`The model can't be loaded: ${error instanceof Error ? error.message : error}`);
    return false;
  }
}

function say(sentence) {
  part("status").textContent = sentence;
  part("status").classList.remove("wrong");
}

function fail(sentence) {
  part("progress").hidden = true;
  say(sentence);
  part("status").classList.add("wrong");
}

/** Look at a photo: a file, or a frame of the camera. Only the newest is shown. */
async function show(source) {
  const id = ++newest;
  let bitmap;
  try {
    bitmap = await createImageBitmap(source, { imageOrientation: "from-image", colorSpaceConversion: "default" });
  } catch {
    return fail("This file is no photo that a browser can read: JPEG, PNG, WebP, GIF, BMP and AVIF files work.");
  }
  if (!(await loaded)) return undefined;
  const answer = await ask({ bitmap, id }, [bitmap]);
  if (id !== newest) return undefined;
  if (answer.error) return fail(`This photo can't be shown: ${answer.error}`);
  say(`${Math.round(answer.ms)} ms in this browser.`);
  classify(answer.logits);
  view.update(payload(answer));
  giveLayers(answer);
  document.documentElement.dataset.shown = String(id);
  window.dispatchEvent(new CustomEvent("looked", { detail: answer }));
  return undefined;
}

/** What the classifier says, as bars; all text is set as text, so a class's name can't be markup. */
function classify(logits) {
  const place = part("answers");
  place.replaceChildren();
  place.hidden = !logits;
  if (!logits) return;
  const shares = probabilities(Array.from(logits));
  const order = shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a]).slice(0, SHOWN);
  const unsure = about.unsure !== null && about.outputs === "classes" && shares[order[0]] < about.unsure;
  for (const text of [about.answers, unsure ? "Unsure: below the threshold that was chosen for this model." : ""]) {
    if (text) place.append(Object.assign(document.createElement("p"), { textContent: text }));
  }
  for (const index of order) {
    const [name, bar, value] = ["span", "div", "span"].map((tag) => document.createElement(tag));
    name.textContent = about.classes?.[index] ?? `class ${index}`;
    bar.className = "bar";
    bar.append(document.createElement("span"));
    /** @type {HTMLElement} */ (bar.firstChild).style.width = `${100 * Math.min(1, Math.max(0, shares[index]))}%`;
    value.className = "value";
    value.textContent = about.outputs === "number" ? shares[index].toPrecision(4) : `${(100 * shares[index]).toFixed(1)} %`;
    place.append(name, bar, value);
  }
}

function probabilities(logits) {
  if (about.outputs === "number") return logits;
  if (about.outputs === "labels") return logits.map((x) => 1 / (1 + Math.exp(-x)));
  const top = Math.max(...logits);
  const powers = logits.map((x) => Math.exp(x - top));
  const total = powers.reduce((sum, x) => sum + x, 0);
  return powers.map((x) => x / total);
}

/** The canvas' own form of what the worker found: see explorer/web/payload.py. */
function payload({ rgb, q, k }) {
  const { layer, shows } = kept;
  const [height, width] = about.preparation.input;
  const settings = {
    ...{ layer, shows, head: kept.head, query: kept.query, look: kept.look ?? LOOK, grid: about.grid, prefix: about.prefix },
    ...{ default_query: about.default_query, heads: about.heads, depth: about.depth, scale: about.scales[layer] },
    ...{ colormaps: about.colormaps, note: "", seq: Number.MAX_SAFE_INTEGER, steps: true },
  };
  return safetensors({ canvas: JSON.stringify(settings) }, {
    image: ["U8", [height, width, 3], rgb],
    colormaps: ["U8", [about.colormaps.length, 256, 3], tables],
    q: ["F32", shapeOf(q), ofLayer(q, layer)],
    k: ["F32", shapeOf(k), ofLayer(k, layer)],
  });
}

/** "head token dim" of a layer of q or k. */
const shapeOf = (all) => [about.heads, all.length / about.depth / about.heads / about.dim, about.dim];
const ofLayer = (all, layer) => all.subarray((layer * all.length) / about.depth, ((layer + 1) * all.length) / about.depth);

/** Give the canvas every layer, for its sliders, its mosaic and rollout. */
function giveLayers({ q, k }) {
  for (let layer = 0; layer < about.depth; layer++) {
    const [asks, answers] = [q, k].map((all) => ({ shape: shapeOf(all), data: ofLayer(all, layer) }));
    view.recording.setLayer(layer, { q: asks, k: answers, scale: about.scales[layer] });
  }
}

const LOOK = { colormap: "inferno", opacity: 0.6, resample: "bicubic", scale: "map", mass: null, hide_artefacts: false, grid: false, mosaic: false };

/**
 * @param {Record<string, string>} metadata
 * @param {Record<string, [dtype: string, shape: number[], data: ArrayBufferView]>} tensors
 */
function safetensors(metadata, tensors) {
  /** @type {Record<string, any>} */
  const header = { __metadata__: metadata };
  let end = 0;
  for (const [name, [dtype, shape, data]] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end + data.byteLength] };
    end += data.byteLength;
  }
  const head = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + head.length + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(head.length), true);
  bytes.set(head, 8);
  let place = 8 + head.length;
  for (const [, , data] of Object.values(tensors)) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), place);
    place += data.byteLength;
  }
  return bytes;
}

part("file").onchange = ({ target }) => target.files[0] && show(target.files[0]);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  part("drop").classList.add("over");
});
document.addEventListener("dragleave", () => part("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  part("drop").classList.remove("over");
  const file = event.dataTransfer?.files[0];
  if (file) show(file);
});
document.addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  if (file) show(file);
});

/** @type {MediaStream | null} */
let stream = null;
part("camera").onclick = async () => {
  if (stream) return stopCamera();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } } });
  } catch {
    return fail("The camera can't be used: allow it in the browser, or choose a photo.");
  }
  part("camera").setAttribute("aria-pressed", "true");
  part("video").srcObject = stream;
  await part("video").play();
  while (stream) {
    await show(part("video"));
    await new Promise(requestAnimationFrame);
  }
  return undefined;
};

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  part("camera").setAttribute("aria-pressed", "false");
}

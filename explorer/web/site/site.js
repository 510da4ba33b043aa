// The page around the canvas: photos and camera in, classes and the live map out. The model runs in worker.js.

import { packRgb } from "../canvas/paint.js";
import { Recording } from "../canvas/recording.js";
import { LiveView } from "../canvas/view.js";

/**
 * @typedef {{
 *   grid: [number, number], prefix: string[], default_query: string, heads: number, depth: number, layer: number, dim: number,
 *   scales: number[], classes: string[] | null, outputs: string, unsure: number | null, answers: string,
 *   preparation: import("./pixels.js").Preparation, colormaps: string[], tables: string, sample: string | null,
 *   bytes: number, look: import("../canvas/view.js").Look, files: { model: string, runtime: string, weights: string }, webgpu: boolean,
 * }} About what page.py writes as JSON
 */

const SHOWN = 5; // classes
const RUNTIME_BYTES = 3_700_000; // about, compressed
const FROM_DISK = "browsers don't let a page on a disk read the files beside it; open its folder through a host of files";
const part = (name) => /** @type {any} */ (document.querySelector(`[data-part="${name}"]`));
const textOf = (id) => document.getElementById(id)?.textContent ?? "";
/** @type {About} */
const about = JSON.parse(textOf("about"));

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

/** A file of the page: inside it, or beside it; `progress` hears how many bytes have come. */
async function asset(name, progress) {
  const inside = document.getElementById(name);
  if (inside) return unpacked(bytesOf(inside.textContent));
  const answer = await fetch(name).catch(() => null);
  if (!answer?.ok || !answer.body) throw new Error(location.protocol === "file:" ? FROM_DISK : `${name} is missing`);
  /** @type {BlobPart[]} */
  const chunks = [];
  const reader = answer.body.getReader();
  for (let { value } = await reader.read(); value; { value } = await reader.read()) {
    chunks.push(value);
    progress(value.length);
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

const view = new LiveView(document);
const tables = bytesOf(about.tables);
const luts = Object.fromEntries(about.colormaps.map((name, i) => [name, packRgb(tables.subarray(i * 768, (i + 1) * 768))]));
/** @type {import("../canvas/view.js").Settings} */
const SETTINGS = {
  ...{ grid: about.grid, prefix: about.prefix, depth: about.depth, heads: about.heads, scale: 0, note: "", steps: true },
  ...{ shows: "attention", layer: about.layer, head: "mean", query: about.default_query, look: about.look },
  ...{ default_query: about.default_query, colormaps: about.colormaps, seq: -1 }, // what a person chose stays
};
let newest = 0; // the photo that was asked for last
const loaded = load();
loaded.then(async (works) => {
  if (works && about.sample && !newest) await show(await (await fetch(about.sample)).blob());
  if (works) document.documentElement.dataset.ready = "true";
});

async function load() {
  try {
    const { model, runtime, weights } = about.files;
    const progress = (bytes) => (part("progress").value += bytes / (about.bytes + RUNTIME_BYTES));
    const files = await Promise.all([model, runtime, weights].filter(Boolean).map((name) => asset(name, progress)));
    const answer = await ask({ files, settings: about }, files);
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
    bitmap = await createImageBitmap(source, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    return id === newest && fail("This file is damaged, or no photo that this browser can read: JPEG, PNG, WebP, GIF, BMP and AVIF files work.");
  }
  if (!(await loaded)) return undefined;
  const answer = await ask({ bitmap, id }, [bitmap]);
  if (id !== newest) return undefined;
  if (answer.error) return fail(`This photo can't be shown: ${answer.error}`);
  say(`${Math.round(answer.ms)} ms in this browser.`);
  view.show(recordingOf(answer), { ...SETTINGS, classes: answer.logits ? classesOf(answer.logits) : [] });
  document.documentElement.dataset.shown = String(id);
  window.dispatchEvent(new CustomEvent("looked", { detail: answer }));
  return undefined;
}

/** The likeliest classes as the canvas lists them, and beside them what one should know of the answer. */
function classesOf(logits) {
  const shares = probabilities(Array.from(logits));
  const order = shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a]).slice(0, SHOWN);
  const least = about.outputs === "number" ? 0 : (about.unsure ?? 0);
  const warned = shares[order[0]] < least ? `Unsure: below ${Number((100 * least).toPrecision(3))} %.` : "";
  part("answers").textContent = [about.answers, warned].filter(Boolean).join(" ");
  return order.map((index) => {
    const unnamed = about.outputs === "number" && shares.length === 1 ? "Predicted number" : `class ${index}`;
    const [name, share] = [about.classes?.[index] ?? unnamed, shares[index]];
    return about.outputs === "number" ? [name, share.toPrecision(4), null] : [name, `${(100 * share).toFixed(1)} %`, share];
  });
}

function probabilities(logits) {
  if (about.outputs === "number") return logits;
  if (about.outputs === "labels") return logits.map((x) => 1 / (1 + Math.exp(-x)));
  const top = Math.max(...logits);
  const powers = logits.map((x) => Math.exp(x - top));
  const total = powers.reduce((sum, x) => sum + x, 0);
  return powers.map((x) => x / total);
}

/** What the worker found, as the canvas holds a recording. */
function recordingOf({ rgb, q, k }) {
  const recording = new Recording(SETTINGS);
  const [height, width] = about.preparation.input;
  const image = new ImageData(width, height);
  new Uint32Array(image.data.buffer).set(packRgb(rgb));
  recording.setPhoto(image, luts);
  const size = q.length / about.depth;
  const shape = [about.heads, size / about.heads / about.dim, about.dim];
  const of = (numbers, layer) => ({ shape, data: numbers.subarray(layer * size, (layer + 1) * size) });
  about.scales.forEach((scale, layer) => recording.setLayer(layer, { q: of(q, layer), k: of(k, layer), scale }));
  return recording;
}

/** @param {File | undefined} file that a person chose, dropped or pasted */
function take(file) {
  if (!file) return;
  stopCamera(); // whose next frame would take its place
  show(file);
}

part("file").onchange = ({ target }) => {
  take(target.files[0]);
  target.value = ""; // so that the same photo can be chosen again
};
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  part("drop").classList.add("over");
});
document.addEventListener("dragleave", () => part("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  part("drop").classList.remove("over");
  take(event.dataTransfer?.files[0]);
});
document.addEventListener("paste", (event) => {
  take(event.clipboardData?.files[0]);
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

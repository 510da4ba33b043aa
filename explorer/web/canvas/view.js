// The live picture: what is shown now, from which data, and drawing it once per frame.

import { attentionRows, fuse, isPatch, massMask, parseSafetensors, peak, range, withoutMasked } from "./attention.js";
import {
  colorize, contextOf, enlarge, gridLines, maskOutline, normalize, packRgb, patchBox, shadeCanvas, strokeOnGrid, toCanvas,
} from "./paint.js";
import { Controls } from "./controls.js";
import { listen } from "./input.js";

const SMOOTH_SIDE = 448; // bicubic enlarging goes up to this many pixels per side; the browser does the rest

/**
 * @typedef {import("./attention.js").Patch} Patch
 * @typedef {import("./attention.js").Query} Query
 * @typedef {import("./attention.js").Head} Head
 * @typedef {{
 *   colormap: string, opacity: number, resample: string, scale: string, mass: number | null,
 *   hide_artefacts: boolean, grid: boolean,
 * }} Look
 * @typedef {{ query: Query, head: Head, look: Look }} State
 *
 * @typedef {{
 *   layer: number, grid: Patch, prefix: string[], default_query: Query, heads: number, scale: number,
 *   colormaps: string[], note: string, seq: number,
 * } & State} Settings what payload.py writes as JSON
 *
 * @typedef {{
 *   width: number, height: number, image: HTMLCanvasElement, luts: Record<string, Uint32Array>,
 *   outlying: Uint8Array | null, qk: import("./attention.js").Layer | null, rows: Float32Array | null,
 * } & Settings} Data
 *
 * @typedef {{ layer: number, head: Head, query: Query, row: Float32Array, weights: Float32Array, ms: number }} Shown
 */

/**
 * What Python sent: image, colour maps, settings, and either q and k or the rows of the pinned query.
 * @param {Uint8Array} bytes
 * @returns {Data}
 */
function readPayload(bytes) {
  const { tensors, metadata } = parseSafetensors(bytes);
  /** @type {Settings} */
  const settings = JSON.parse(metadata.canvas);
  const [height, width] = tensors.image.shape;
  const image = new ImageData(width, height);
  new Uint32Array(image.data.buffer).set(packRgb(tensors.image.data));
  /** @type {Record<string, Uint32Array>} */
  const luts = {};
  settings.colormaps.forEach((name, i) => (luts[name] = packRgb(tensors.colormaps.data.subarray(i * 768, (i + 1) * 768))));
  const layer = tensors.q ? { q: tensors.q, k: tensors.k, bias: tensors.bias, scale: settings.scale } : null;
  /** @type {any} */
  const outlying = tensors.artefacts?.data ?? null; // 1 where a patch's token norm is an outlier; null: not known
  /** @type {any} */
  const rows = tensors.rows?.data ?? null;
  return { ...settings, width, height, image: toCanvas(image), luts, outlying, qk: layer, rows };
}

/** @type {any} */
const NOTHING_YET = null; // until the first update()

const same = (a, b) => String(a) === String(b);

export class LiveView {
  /**
   * @param {ParentNode} root holds the elements of canvas.html
   * @param {(change: State & { seq: number }) => void} onChange called when a person changed something
   */
  constructor(root, onChange = () => {}) {
    /** @type {(name: string) => any} */
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    /** @type {HTMLElement} */
    this.root = this.part("root");
    /** @type {HTMLCanvasElement} */
    this.picture = this.part("picture");
    this.onChange = onChange;
    /** @type {Data} */
    this.data = NOTHING_YET;
    /** @type {State} */
    this.state = NOTHING_YET;
    /** @type {Map<number, Float32Array>} rows of the queries asked lately */
    this.memo = new Map();
    /** @type {Patch | null} */
    this.hover = null; // under the mouse
    this.reading = false; // Shift held: keep the map, read single weights
    this.seq = 0; // of the newest change made here: settings that Python sent before it saw that are out of date
    this.frame = 0;
    /** @type {Record<string, HTMLCanvasElement & { source?: HTMLCanvasElement }>} */
    this.layers = Object.fromEntries(["base", "heat", "shade"].map((name) => [name, document.createElement("canvas")]));
    this.controls = new Controls(this);
    this.resize = new ResizeObserver(() => this.schedule());
    this.resize.observe(this.root);
    this.unlisten = listen(this);
  }

  /** Take new bytes from Python; the old picture stays until the next frame draws the new one. */
  update(bytes) {
    this.data = readPayload(bytes);
    this.memo = new Map();
    this.accent = getComputedStyle(this.root).getPropertyValue("--accent").trim();
    if (this.data.seq >= this.seq) {
      const { query, head, look } = this.data;
      this.state = { query, head, look };
    }
    this.controls.build(this.data);
    this.schedule();
  }

  destroy() {
    this.resize.disconnect();
    this.unlisten();
    cancelAnimationFrame(this.frame);
  }

  get live() {
    return this.data.qk !== null;
  }

  /**
   * Change the state here and now.
   * @param {Partial<State>} change
   * @param {boolean} report also tell Python
   */
  set(change, report = true) {
    this.state = { ...this.state, ...change };
    if (report) this.report();
    this.schedule();
  }

  /**
   * @param {Partial<Look>} change
   * @param {boolean} [report]
   */
  setLook(change, report) {
    this.set({ look: { ...this.state.look, ...change } }, report);
  }

  report() {
    this.seq = Math.max(Date.now(), this.seq + 1);
    this.onChange({ ...this.state, seq: this.seq });
  }

  schedule() {
    if (!this.data || this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  /** The query whose map is drawn: the patch under the mouse, or the pinned one. */
  shownQuery() {
    return this.hover && this.live && !this.reading ? this.hover : this.state.query;
  }

  /**
   * rows "head token" of a query, or null where only Python can compute them.
   * @param {Query} query
   * @returns {Float32Array | null}
   */
  rowsOf(query) {
    const { data } = this;
    if (data.rows && same(query, data.query)) return data.rows;
    if (!data.qk || query === "mean") return null;
    const token = isPatch(query) ? data.prefix.length + query[0] * data.grid[1] + query[1] : data.prefix.indexOf(query);
    if (this.memo.size > 64) this.memo.clear();
    if (!this.memo.has(token)) this.memo.set(token, attentionRows(data.qk, token));
    return /** @type {Float32Array} */ (this.memo.get(token));
  }

  /** Which patches are taken out of every map: a mask, or null for none. */
  hidden() {
    return this.state.look.hide_artefacts ? this.data.outlying : null;
  }

  /**
   * The weights on the patches, "row col", of one head or fusion, as they are shown.
   * @param {Float32Array} rows "head token"
   * @param {Head} head
   */
  patches(rows, head) {
    const weights = fuse(rows, this.data.heads, head).subarray(this.data.prefix.length);
    const hidden = this.hidden();
    return hidden ? withoutMasked(weights, hidden) : weights;
  }

  /**
   * What 0 and 1 of the colours stand for.
   * @returns {[low: number, high: number]}
   */
  limits(rows, weights) {
    if (this.state.look.scale === "raw") return [0, 1];
    if (this.state.look.scale === "map") return range(weights);
    const ranges = Array.from({ length: this.data.heads }, (_, head) => range(this.patches(rows, head)));
    return [Math.min(...ranges.map(([low]) => low)), Math.max(...ranges.map(([, high]) => high))];
  }

  draw() {
    const started = performance.now();
    const query = this.shownQuery();
    const rows = this.rowsOf(query);
    this.controls.show(this.state);
    if (!this.root.clientWidth) return; // hidden: drawn as soon as it has a size
    if (!rows) return; // Python is asked for this query: the old picture stays until it answers
    const row = fuse(rows, this.data.heads, this.state.head);
    const weights = this.patches(rows, this.state.head);
    const limits = this.limits(rows, weights);
    this.fit();
    this.paint(weights, limits);
    this.drawHeads(rows);
    this.controls.describe(this, query, weights, limits);
    /** @type {Shown} */
    this.shown = { layer: this.data.layer, head: this.state.head, query, row, weights, ms: performance.now() - started };
    this.root.dataset.layer = String(this.data.layer);
    this.root.dataset.query = String(query);
    this.root.dataset.head = String(this.state.head);
    this.root.dispatchEvent(new CustomEvent("drawn", { detail: this.shown, bubbles: true, composed: true }));
  }

  /** Give the picture its place: beside the tools where there is room, never higher than the window. */
  fit() {
    const { width, height } = this.data;
    const room = this.root.clientWidth;
    const narrow = room < 720;
    const beside = narrow ? room : room - 280;
    this.root.classList.toggle("narrow", narrow);
    const tallest = Math.max(320, Math.min(720, window.innerHeight * 0.72));
    const shownWidth = Math.floor(Math.min(beside, (tallest * width) / height));
    const shownHeight = Math.max(1, Math.round((shownWidth * height) / width));
    this.root.style.setProperty("--picture-width", `${shownWidth}px`);
    this.picture.style.height = `${shownHeight}px`;
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(shownWidth * ratio), Math.round(shownHeight * ratio)];
    if (this.picture.width !== w || this.picture.height !== h) [this.picture.width, this.picture.height] = [w, h];
  }

  paint(weights, limits) {
    const { grid } = this.data;
    const { look } = this.state;
    const context = contextOf(this.picture);
    const [w, h] = [this.picture.width, this.picture.height];
    const mask = look.mass === null ? null : massMask(weights, look.mass);
    context.drawImage(this.base(w, h), 0, 0);
    context.globalAlpha = look.opacity;
    context.imageSmoothingEnabled = look.resample !== "nearest";
    context.drawImage(this.heat(weights, limits, mask), 0, 0, w, h);
    context.globalAlpha = 1;
    context.imageSmoothingEnabled = false;
    if (mask) context.drawImage(shadeCanvas(mask, grid[1], this.layers.shade), 0, 0, w, h);
    this.outline(context, weights, mask);
  }

  /** The image at the size it is shown: scaled once, not on every frame. */
  base(w, h) {
    const { base } = this.layers;
    if (base.source !== this.data.image || base.width !== w || base.height !== h) {
      Object.assign(base, { source: this.data.image, width: w, height: h });
      const context = contextOf(base);
      context.imageSmoothingQuality = "high";
      context.drawImage(this.data.image, 0, 0, w, h);
    }
    return base;
  }

  /** The coloured map on its own canvas: one pixel per patch, or enlarged; see-through outside the mask. */
  heat(weights, limits, mask) {
    const { grid, width, height, luts } = this.data;
    const { resample, colormap } = this.state.look;
    const smooth = resample !== "nearest";
    const longest = Math.max(width, height);
    const size = smooth ? [height, width].map((side, i) => Math.max(grid[i], Math.round((side * SMOOTH_SIDE) / longest))) : grid;
    const units = normalize(weights, limits);
    const image = colorize(smooth ? enlarge(units, grid, size) : units, size[1], luts[colormap]);
    if (mask) {
      const pixels = new Uint32Array(image.data.buffer);
      for (let i = 0; i < pixels.length; i++) {
        const row = Math.floor((Math.floor(i / size[1]) * grid[0]) / size[0]);
        const col = Math.floor(((i % size[1]) * grid[1]) / size[1]);
        if (!mask[row * grid[1] + col]) pixels[i] = 0;
      }
    }
    return toCanvas(image, this.layers.heat);
  }

  /** Patch grid, mask border, the highest weight (a ring), the pinned patch and the patch under the mouse. */
  outline(context, weights, mask) {
    const { grid } = this.data;
    const unit = window.devicePixelRatio || 1;
    const stroke = (path, color, width) => strokeOnGrid(context, path, grid, color, width * unit);
    if (this.state.look.grid) stroke(gridLines(grid), "rgba(255, 255, 255, 0.5)", 0.5);
    if (mask) stroke(maskOutline(mask, grid), "rgba(255, 255, 255, 0.9)", 1.5);
    const top = peak(weights);
    const ring = new Path2D();
    ring.arc((top % grid[1]) + 0.5, Math.floor(top / grid[1]) + 0.5, 0.34, 0, 2 * Math.PI);
    stroke(ring, "rgba(255, 255, 255, 0.95)", 1.5);
    if (isPatch(this.state.query)) stroke(patchBox(this.state.query), "white", 2.5);
    if (this.hover) stroke(patchBox(this.hover), this.accent, 2.5);
  }

  /** The small maps below: fusions first, then every head, all from the query shown. */
  drawHeads(rows) {
    for (const [head, canvas] of this.controls.thumbs) {
      const weights = this.patches(rows, head);
      const units = normalize(weights, this.limits(rows, weights));
      toCanvas(colorize(units, this.data.grid[1], this.data.luts[this.state.look.colormap]), canvas);
    }
  }
}

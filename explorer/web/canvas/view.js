// The live picture: what is shown now, of which recording, and drawing it once per frame.
//
// Without Streamlit or Python, a page of its own feeds it so:
//   const recording = new Recording({ grid, prefix, depth, heads });
//   recording.setPhoto(imageData, luts);
//   recording.setLayer(index, { q, k, scale });  // each layer, in any order, before or after show()
//   new LiveView(root).show(recording, settings);

import { fuse, range, withoutMasked } from "./attention.js";
import { Controls } from "./controls.js";
import { listen } from "./input.js";
import { HeadMaps, Mosaic } from "./maps.js";
import { Painter } from "./picture.js";
import { Player } from "./player.js";
import { Recording, takeLayer, takePhoto, takeRows } from "./recording.js";
import { parseSafetensors } from "./tensors.js";

const REST = 250; // ms until a hand that moved a slider or a key counts as resting, and Python is told
const PATIENCE = 400; // ms without an answer until the readout says so

/**
 * @typedef {import("./attention.js").Patch} Patch
 * @typedef {import("./attention.js").Query} Query
 * @typedef {import("./attention.js").Head} Head
 * @typedef {{
 *   colormap: string, opacity: number, resample: string, scale: string, mass: number | null,
 *   hide_artefacts: boolean, grid: boolean, mosaic: boolean,
 * }} Look grid: lines between patches; mosaic: all layers and heads in place of one layer's heads
 * @typedef {{ shows: string, layer: number, head: Head, query: Query, look: Look }} State shows: "attention", or
 *   "rollout", of which layer is the first and head the fusion
 *
 * @typedef {{
 *   key?: string, grid: Patch, prefix: string[], depth: number, heads: number, default_query: Query, scale: number,
 *   colormaps: string[], note: string, seq: number, steps: boolean,
 *   rows?: number[], files?: { photo: string, layers: string[] }, classes?: [string, string, number | null][],
 * } & State} Settings key: of the recording's content; scale: of q k^T in the layer that is sent along; steps: whether
 *   layers and heads are chosen here; rows: of which layers the query's rows go along; files: names of the photo and of
 *   each layer, none of layers where only the shown one is sent; classes: name, text, share
 *
 * @typedef {{
 *   shows: string, layer: number, head: Head, query: Query, row: Float32Array, weights: Float32Array, ms: number,
 * }} Shown row: of all tokens; weights: of the patches, as they are shown
 */

/** @type {any} */
const NOTHING_YET = null; // until the first show()

export class LiveView {
  /**
   * @param {ParentNode} root holds the elements of canvas.html
   * @param {((change: State & { seq: number }) => void) | null} onChange called when a person changed something
   */
  constructor(root, onChange = null) {
    /** @type {(name: string) => any} */
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    /** @type {HTMLElement} */
    this.root = this.part("root");
    this.onChange = onChange;
    /** @type {((name: string) => Promise<Uint8Array>) | null} */
    this.fetchFile = null; // where settings name files
    /** @type {Recording} */
    this.recording = NOTHING_YET;
    /** @type {Settings} */
    this.data = NOTHING_YET;
    /** @type {State} */
    this.state = NOTHING_YET;
    /** @type {{ recording: Recording, settings: Settings } | null} */
    this.opening = null; // what the newest update brought
    this.trouble = ""; // why something is missing
    /** @type {Patch | null} */
    this.hover = null; // under the mouse
    /** @type {Partial<State> | null} */
    this.previewed = null; // the small map under the mouse
    this.alone = false; // without tools beside the picture
    [this.accent, this.ink] = ["", ""]; // colours
    this.reading = false; // Shift held: keep the map, read single weights
    this.seq = 0; // of the newest change made here: settings that Python sent before it saw that are out of date
    this.frame = 0;
    this.rest = 0;
    this.patience = 0;
    /** @type {HTMLCanvasElement} */
    this.picture = this.part("picture");
    this.painter = new Painter(this);
    this.headMaps = new HeadMaps(this);
    this.mosaic = new Mosaic(this);
    this.player = new Player(this);
    this.controls = new Controls(this);
    this.resize = new ResizeObserver(() => this.schedule());
    this.resize.observe(this.root);
    this.unlisten = listen(this);
  }

  /**
   * Take new bytes from Python; the old picture stays until the next frame draws the new one.
   * @param {Uint8Array} bytes safetensors: settings in the metadata, and every tensor that no file holds
   */
  update(bytes) {
    const { tensors, metadata } = parseSafetensors(bytes);
    /** @type {Settings} */
    const settings = JSON.parse(metadata.canvas);
    const known = [this.opening?.recording, this.recording].find((each) => each?.key && each.key === settings.key);
    const recording = known ?? new Recording(settings, settings.key);
    const { q, k, bias, rows } = tensors;
    if (tensors.image) takePhoto(recording, settings.colormaps, tensors);
    if (q && !settings.files?.layers.length) recording.dropLayers();
    if (q) recording.setLayer(settings.layer, { q, k, bias, scale: settings.scale });
    if (rows) takeRows(recording, settings, rows);
    this.opening = { recording, settings };
    if (settings.files) this.open(recording, settings);
    else this.show(recording, settings);
  }

  /** Fetch what the first picture needs, show it, and then fetch all other layers. */
  async open(recording, settings) {
    const { files, layer, colormaps } = settings;
    const fetchFile = /** @type {(name: string) => Promise<Uint8Array>} */ (this.fetchFile);
    const newest = () => this.opening?.settings === settings;
    this.trouble = "";
    const missing = [];
    if (!recording.image) {
      const taken = (bytes) => takePhoto(recording, colormaps, parseSafetensors(bytes).tensors);
      missing.push(fetchFile(files.photo).then(taken));
    }
    if (files.layers.length && !recording.layers[layer]) {
      missing.push(fetchFile(files.layers[layer]).then((bytes) => takeLayer(recording, bytes)));
    }
    try {
      if (missing.length) await Promise.all(missing);
    } catch {
      if (newest()) this.complain();
    }
    if (!newest() || !recording.image) return;
    this.show(recording, settings);
    if (recording.complete) return;
    const others = () => this.stream(recording, files.layers, fetchFile);
    if (this.state.shows === "rollout") others(); // which needs them all
    else this.root.addEventListener("drawn", others, { once: true });
  }

  /** Fetch the other layers, those next to the shown one first. */
  async stream(recording, names, fetchFile) {
    if (recording.streams) return;
    recording.streams = true;
    const wanted = () => this.opening?.recording === recording;
    const missing = () => names.map((_, layer) => layer).filter((layer) => !recording.layers[layer]);
    try {
      for (let left = missing(); left.length && wanted(); left = missing()) {
        const distance = (layer) => Math.abs(layer - this.state.layer);
        const next = left.reduce((best, layer) => (distance(layer) < distance(best) ? layer : best));
        takeLayer(recording, await fetchFile(names[next]));
        if (wanted()) this.schedule();
      }
    } catch {
      if (wanted()) this.complain();
    }
    recording.streams = false;
  }

  complain() {
    this.trouble = "The server no longer has all of this recording: reload the page.";
    this.schedule();
  }

  /**
   * Show a recording; layers that it lacks may be set later, with addLayer() or setLayer() and schedule().
   * @param {Recording} recording its photo is set
   * @param {Settings} settings
   */
  show(recording, settings) {
    const before = this.data;
    if (this.recording && this.recording !== recording) this.recording.end();
    this.recording = recording;
    recording.onAnswer = () => this.schedule();
    this.data = settings;
    const style = getComputedStyle(this.root);
    this.accent = style.getPropertyValue("--accent").trim();
    this.ink = style.getPropertyValue("--ink").trim();
    const noTools = getComputedStyle(this.part("tools")).display === "none"; // on pages with tools of their own
    this.alone = noTools || style.getPropertyValue("--stacked").trim() === "1";
    const alike = before && ["depth", "heads", "grid", "prefix"].every((fact) => String(before[fact]) === String(settings[fact]));
    if (settings.seq >= this.seq || !alike) {
      const { shows, layer, head, query, look } = settings;
      this.state = { shows, layer, head, query, look };
      [this.hover, this.previewed] = [alike ? this.hover : null, null];
    }
    this.controls.build(settings);
    this.schedule();
  }

  /**
   * Take a layer of the shown recording from a file of its own.
   * @param {Uint8Array} bytes
   */
  addLayer(bytes) {
    takeLayer(this.recording, bytes);
    this.schedule();
  }

  destroy() {
    this.opening = null;
    this.player.stop();
    this.recording?.end();
    this.resize.disconnect();
    this.unlisten();
    clearTimeout(this.rest);
    clearTimeout(this.patience);
    cancelAnimationFrame(this.frame);
  }

  /** The photo. */
  get image() {
    return /** @type {HTMLCanvasElement} */ (this.recording.image);
  }

  get luts() {
    return this.recording.luts;
  }

  /** Whether the browser can ask any patch of the layer by itself. */
  get live() {
    return this.recording.layers[this.state.layer] !== null;
  }

  /**
   * Change the state here and now.
   * @param {Partial<State>} change
   * @param {boolean | "soon"} report tell Python at once, when the hand rests, or not
   */
  set(change, report = true) {
    this.state = { ...this.state, ...change };
    if (report === "soon") {
      this.touch();
      clearTimeout(this.rest);
      this.rest = setTimeout(() => this.report(), REST);
    } else if (report) this.report();
    this.schedule();
  }

  /**
   * @param {Partial<Look>} change
   * @param {boolean} [report]
   */
  setLook(change, report) {
    this.set({ look: { ...this.state.look, ...change } }, report);
  }

  /** The change of state when a layer or head is picked: one head alone has attention and no rollout. */
  picked(change) {
    return typeof change.head === "number" ? { ...change, shows: "attention" } : change;
  }

  /**
   * @param {{ layer?: number, head?: Head }} change
   * @param {boolean | "soon"} [report]
   */
  pick(change, report) {
    this.player.stop();
    this.set(this.picked(change), report);
  }

  /**
   * Show a layer and head without picking them; null: what is picked again.
   * @param {{ layer: number, head: Head } | null} tile
   */
  preview(tile) {
    this.previewed = tile && { ...tile, shows: "attention" };
    this.schedule();
  }

  /** From now on, what Python sent before it hears of the state as it is now is out of date. */
  touch() {
    this.seq = Math.max(Date.now(), this.seq + 1);
  }

  report() {
    clearTimeout(this.rest);
    this.touch();
    this.onChange?.({ ...this.state, seq: this.seq });
  }

  schedule() {
    if (!this.data || this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  /** What the picture is to show: the state, but for what the mouse is over. */
  asked() {
    const { shows, layer, head, query } = { ...this.state, ...this.previewed };
    const hovers = this.hover && this.live && !this.reading;
    return { shows, layer, head, query: hovers ? /** @type {Patch} */ (this.hover) : query };
  }

  /**
   * Rows "head token" of a query, or null where they aren't there yet or only Python can compute them.
   * @param {number} layer
   * @param {Query} query
   */
  rowsOf(layer, query) {
    return this.recording.rowsOf(layer, query);
  }

  /**
   * @param {Float32Array} rows "head token"
   * @param {Head} head
   */
  fused(rows, head) {
    return fuse(rows, this.data.heads, head);
  }

  /** Which patches are taken out of every map: a mask, or null for none. */
  hidden() {
    return this.state.look.hide_artefacts ? this.recording.outlying : null;
  }

  /**
   * The weights on the patches, "row col", as they are shown.
   * @param {Float32Array} row "token"
   */
  patches(row) {
    const weights = row.subarray(this.data.prefix.length);
    const hidden = this.hidden();
    return hidden ? withoutMasked(weights, hidden) : weights;
  }

  /**
   * The range of all heads of a layer, where the look asks for one scale for all of them.
   * @param {Float32Array | null} rows "head token"
   * @returns {[low: number, high: number] | null}
   */
  sharedLimits(rows) {
    if (!rows || this.state.look.scale !== "shared") return null;
    const ranges = Array.from({ length: this.data.heads }, (_, head) => range(this.patches(this.fused(rows, head))));
    return [Math.min(...ranges.map(([low]) => low)), Math.max(...ranges.map(([, high]) => high))];
  }

  /**
   * What 0 and 1 of the colours stand for.
   * @param {Float32Array} weights
   * @param {[low: number, high: number] | null} shared
   * @returns {[low: number, high: number]}
   */
  limits(weights, shared) {
    return this.state.look.scale === "raw" ? [0, 1] : (shared ?? range(weights));
  }

  draw() {
    const started = performance.now();
    const asked = this.asked();
    this.recording.newFrame();
    this.controls.show(this.state);
    if (!this.root.clientWidth) return; // hidden: drawn as soon as it has a size
    const rows = this.rowsOf(asked.layer, asked.query);
    const rolled = asked.shows === "rollout";
    const fusion = typeof asked.head === "number" ? "mean" : asked.head;
    const row = rolled ? this.recording.rollout(asked.query, fusion, asked.layer) : rows && this.fused(rows, asked.head);
    if (!row) return this.waits(); // the old picture stays until the answer is there
    clearTimeout(this.patience);
    this.patience = 0;
    const weights = this.patches(row);
    const limits = this.limits(weights, rolled ? null : this.sharedLimits(rows));
    this.painter.fit();
    this.painter.paint(weights, limits);
    this.drawMaps(asked.query);
    /** @type {Shown} */
    this.shown = { ...asked, row, weights, ms: 0 };
    this.controls.describe(this.shown, limits);
    this.shown.ms = performance.now() - started;
    Object.assign(this.root.dataset, { ...asked, complete: this.recording.complete });
    this.root.dispatchEvent(new CustomEvent("drawn", { detail: this.shown, bubbles: true, composed: true }));
  }

  /** Say that an answer takes a moment, but not for each of the short ones. */
  waits() {
    this.patience ||= setTimeout(() => this.controls.wait(), PATIENCE);
  }

  /** The small maps, all from the query shown: of all layers, or of the layer that is picked. */
  drawMaps(query) {
    if (this.root.classList.contains("all-layers")) return this.mosaic.draw(query);
    const rows = this.rowsOf(this.state.layer, query);
    if (rows) this.headMaps.draw(rows);
  }
}

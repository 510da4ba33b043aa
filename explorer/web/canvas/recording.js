// One recording as the canvas holds it: the photo, q and k of each layer once it has come, and every row asked of them.

import { attentionRows, isPatch } from "./attention.js";
import { Background } from "./background.js";
import { packRgb, toCanvas } from "./paint.js";
import { parseSafetensors } from "./tensors.js";

const KEPT_ROWS = 24 * 2 ** 20; // bytes of rows kept of the queries asked lately

/**
 * @typedef {import("./attention.js").Layer} Layer
 * @typedef {import("./attention.js").Patch} Patch
 * @typedef {import("./attention.js").Query} Query
 *
 * @typedef {{ grid: Patch, prefix: string[], depth: number, heads: number }} Facts grid: rows and columns of patches;
 *   prefix: names of the tokens before them, such as "cls"
 */

export class Recording {
  /**
   * @param {Facts} facts
   * @param {string} [key] of its content: settings with the same key are of the same recording
   */
  constructor({ grid, prefix, depth, heads }, key = "") {
    this.key = key;
    this.grid = grid;
    this.prefix = prefix;
    this.heads = heads;
    /** @type {(Layer | null)[]} */
    this.layers = Array(depth).fill(null);
    /** @type {HTMLCanvasElement | null} */
    this.image = null;
    this.streams = false; // whether its layers are being fetched
    /** @type {Record<string, Uint32Array>} */
    this.luts = {}; // colour maps, 256 packed RGBA numbers each
    /** @type {Uint8Array | null} */
    this.outlying = null; // 1 where a patch's token norm is an outlier; null: not known
    /** @type {Map<string, Float32Array>} */
    this.rows = new Map();
    /** @type {() => void} */
    this.onAnswer = () => {};
    this.background = new Background(this.layers, () => this.onAnswer());
  }

  /** Whether every layer is there. */
  get complete() {
    return this.layers.every(Boolean);
  }

  /**
   * Set the photo and the colour maps.
   * @param {ImageData} image
   * @param {Record<string, Uint32Array>} luts
   * @param {Uint8Array | null} outlying
   */
  setPhoto(image, luts, outlying = null) {
    this.image = toCanvas(image);
    this.luts = luts;
    this.outlying = outlying;
  }

  /**
   * Set q and k of a layer.
   * @param {number} index
   * @param {Layer} layer
   */
  setLayer(index, layer) {
    this.layers[index] = layer;
  }

  /** Forget q and k, where they are too large to hold more than one layer's. */
  dropLayers() {
    this.layers.fill(null);
  }

  /**
   * Index of a query's token; -1 for "mean", which is no single token.
   * @param {Query} query
   */
  token(query) {
    return isPatch(query) ? this.prefix.length + query[0] * this.grid[1] + query[1] : this.prefix.indexOf(query);
  }

  /** The tokens that a query stands for. */
  tokens(query) {
    const patches = this.grid[0] * this.grid[1];
    return query === "mean" ? Array.from({ length: patches }, (_, i) => this.prefix.length + i) : [this.token(query)];
  }

  /**
   * Rows "head token" of a query in a layer; null where the layer isn't there yet, or the answer takes a moment.
   * @param {number} index of the layer
   * @param {Query} query
   * @returns {Float32Array | null}
   */
  rowsOf(index, query) {
    const known = this.rows.get(`${index} ${query}`);
    if (known) return known;
    const layer = this.layers[index];
    if (!layer) return null;
    if (query === "mean") return this.background.ask({ what: "mean", layer: index, tokens: this.tokens(query) });
    const rows = attentionRows(layer, this.token(query));
    this.setRows(index, query, rows);
    return rows;
  }

  /**
   * Keep the rows of a query.
   * @param {number} index of the layer
   * @param {Query} query
   * @param {Float32Array} rows "head token"
   */
  setRows(index, query, rows) {
    if (this.rows.size * rows.byteLength > KEPT_ROWS) this.rows.clear();
    this.rows.set(`${index} ${query}`, rows);
  }

  /**
   * The rollout from a query through the layers from `start` on, "token"; null until it is there.
   * @param {Query} query
   * @param {string} fusion
   * @param {number} start
   * @returns {Float32Array | null}
   */
  rollout(query, fusion, start) {
    if (!this.complete) return null;
    return this.background.ask({ what: "rollout", tokens: this.tokens(query), fusion, start });
  }

  /** From here on, what was asked before and hasn't been begun is no longer wanted. */
  newFrame() {
    this.background.next = null;
  }

  end() {
    this.background.end();
  }
}

/**
 * Give a recording the photo, colour maps and artefact tokens of safetensors bytes.
 * @param {Recording} recording
 * @param {string[]} colormaps their names
 * @param {Record<string, import("./attention.js").Tensor>} tensors
 */
export function takePhoto(recording, colormaps, tensors) {
  const [height, width] = tensors.image.shape;
  const image = new ImageData(width, height);
  new Uint32Array(image.data.buffer).set(packRgb(tensors.image.data));
  const lut = (i) => packRgb(tensors.colormaps.data.subarray(i * 768, (i + 1) * 768));
  const luts = Object.fromEntries(colormaps.map((name, i) => [name, lut(i)]));
  recording.setPhoto(image, luts, /** @type {Uint8Array | undefined} */ (tensors.artefacts?.data));
}

/**
 * Give a recording the rows of a query that Python computed.
 * @param {Recording} recording
 * @param {{ rows?: number[], query: Query }} settings rows: the layers that they are of
 * @param {import("./attention.js").Tensor} tensor "layer head token"
 */
export function takeRows(recording, { rows = [], query }, { shape, data }) {
  const size = shape[1] * shape[2];
  rows.forEach((layer, i) => {
    const some = /** @type {Float32Array} */ (data.subarray(i * size, (i + 1) * size));
    recording.setRows(layer, query, some);
  });
}

/**
 * Give a recording the layer of a file of its own.
 * @param {Recording} recording
 * @param {Uint8Array} bytes safetensors with the metadata "layer" and "scale"
 */
export function takeLayer(recording, bytes) {
  const { tensors, metadata } = parseSafetensors(bytes);
  const { q, k, bias } = tensors;
  recording.setLayer(Number(metadata.layer), { q, k, bias, scale: Number(metadata.scale) });
}

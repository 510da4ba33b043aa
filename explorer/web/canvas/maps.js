// The small maps: all heads of the layer, or the mosaic of every layer and head, from the query that is shown.

import { FUSIONS } from "./attention.js";
import { colorize, contextOf, normalize, toCanvas } from "./paint.js";
import { choice } from "./choices.js";
import { headName } from "./words.js";

/**
 * @typedef {import("./attention.js").Head} Head
 * @typedef {{ layer: number, head: number }} Tile
 */

const GUTTER = 20; // pixels for the numbers of layers and heads
const GAP = 2; // pixels between tiles
const FINGER = 40; // pixels of a tile where a finger points
const TALLEST = 460; // pixels of the mosaic, at most

/** Let the picture show a map while the mouse is over its small one. */
function previewed(element, view, tile) {
  element.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && view.preview(tile()));
  element.addEventListener("pointerleave", () => view.preview(null));
}

export class HeadMaps {
  /** @param {import("./view.js").LiveView} view */
  constructor(view) {
    this.view = view;
    this.box = view.part("heads");
    /** @type {[Head, HTMLCanvasElement][]} */
    this.maps = [];
  }

  /** A small map for each fusion, then for each head. */
  build(heads, aspect) {
    this.maps = [...FUSIONS, ...Array(heads).keys()].map((head) => [head, document.createElement("canvas")]);
    this.box.replaceChildren(...this.maps.map(([head, canvas]) => this.button(head, canvas)));
    this.box.style.setProperty("--aspect", aspect);
  }

  button(head, canvas) {
    const { view } = this;
    const button = choice(head, "", `Show ${headName(head)}`, () => view.pick({ head }));
    button.setAttribute("aria-label", headName(head));
    const label = document.createElement("span");
    label.textContent = String(head);
    canvas.setAttribute("aria-hidden", "true");
    button.append(canvas, label);
    previewed(button, view, () => ({ layer: view.state.layer, head }));
    return button;
  }

  /** @param {Float32Array} rows "head token" of the layer */
  draw(rows) {
    const { view } = this;
    const shared = view.sharedLimits(rows);
    for (const [head, canvas] of this.maps) {
      const weights = view.patches(view.fused(rows, head));
      const units = normalize(weights, view.limits(weights, shared));
      toCanvas(colorize(units, view.data.grid[1], view.luts[view.state.look.colormap]), canvas);
    }
  }
}

export class Mosaic {
  /** @param {import("./view.js").LiveView} view */
  constructor(view) {
    this.view = view;
    this.box = view.part("mosaic-box");
    /** @type {HTMLCanvasElement} */
    this.canvas = view.part("mosaic");
    this.sheet = document.createElement("canvas"); // a pixel a patch, all tiles without gaps
    /** @type {[number, number]} */
    this.tile = [1, 1]; // pixels on the page, gap included
    /** @type {Tile | null} */
    this.under = null; // the mouse
    const point = (event) => this.point(this.tileAt(event));
    this.canvas.onpointermove = (event) => event.pointerType === "mouse" && point(event);
    this.canvas.onpointerleave = () => this.point(null);
    this.canvas.onclick = (event) => {
      const tile = this.tileAt(event);
      if (tile) view.pick(tile);
    };
    this.canvas.onkeydown = (event) => this.step(event);
  }

  point(tile) {
    if (String(tile?.layer) + tile?.head === String(this.under?.layer) + this.under?.head) return;
    this.under = tile;
    this.view.preview(tile);
  }

  /** Arrow keys walk from tile to tile. */
  step(event) {
    const [layers, heads] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [];
    if (layers === undefined || heads === undefined) return;
    event.preventDefault();
    const { layer, head } = this.view.state;
    const { depth, heads: count } = this.view.data;
    const clamp = (value, size) => Math.max(0, Math.min(size - 1, value));
    this.view.pick({ layer: clamp(layer + layers, depth), head: clamp((typeof head === "number" ? head : -1) + heads, count) }, "soon");
  }

  /**
   * The tile under a pointer event.
   * @returns {Tile | null}
   */
  tileAt(event) {
    const layer = Math.floor((event.offsetX - GUTTER) / this.tile[0]);
    const head = Math.floor((event.offsetY - GUTTER) / this.tile[1]);
    const { depth, heads } = this.view.data;
    return layer < 0 || head < 0 || layer >= depth || head >= heads ? null : { layer, head };
  }

  /** Tiles as large as the room allows, in the photo's shape; never smaller than a finger where one points. */
  fit() {
    const { depth, heads } = this.view.data;
    const { width, height } = this.view.image;
    const least = matchMedia("(pointer: coarse)").matches ? FINGER : 8;
    const room = Math.min((this.box.clientWidth - GUTTER) / depth, (((TALLEST - GUTTER) / heads) * width) / height, 96);
    const wide = Math.max(least, Math.floor(room));
    this.tile = [wide, Math.max(least, Math.round((wide * height) / width))];
    const ratio = window.devicePixelRatio || 1;
    const size = [GUTTER + depth * this.tile[0], GUTTER + heads * this.tile[1]];
    const [w, h] = size.map((side) => Math.round(side * ratio));
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
    [this.canvas.style.width, this.canvas.style.height] = size.map((side) => `${side}px`);
    return ratio;
  }

  /** @param {import("./attention.js").Query} query */
  draw(query) {
    const ratio = this.fit();
    const context = contextOf(this.canvas);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.imageSmoothingEnabled = this.view.state.look.resample !== "nearest";
    const filled = this.fill(query);
    const { depth, heads, grid } = this.view.data;
    const [rows, cols] = grid;
    const [wide, high] = this.tile;
    for (let layer = 0; layer < depth; layer++) {
      if (!filled[layer]) continue;
      for (let head = 0; head < heads; head++) {
        const at = [GUTTER + layer * wide, GUTTER + head * high];
        context.drawImage(this.sheet, layer * cols, head * rows, cols, rows, at[0], at[1], wide - GAP, high - GAP);
      }
    }
    this.label(context);
  }

  /** The maps of every layer that is there, a pixel a patch; returns which are. */
  fill(query) {
    const { view } = this;
    const { depth, heads, grid } = view.data;
    const [rows, cols] = grid;
    const image = new ImageData(depth * cols, heads * rows);
    const pixels = new Uint32Array(image.data.buffer);
    const lut = view.luts[view.state.look.colormap];
    const all = Array.from({ length: depth }, (_, layer) => view.rowsOf(layer, query));
    for (const [layer, found] of all.entries()) {
      if (!found) continue;
      const shared = view.sharedLimits(found);
      for (let head = 0; head < heads; head++) {
        const weights = view.patches(view.fused(found, head));
        const [low, high] = view.limits(weights, shared);
        const scale = high > low ? 255 / (high - low) : 0;
        for (let row = 0, i = 0; row < rows; row++) {
          const at = (head * rows + row) * depth * cols + layer * cols;
          for (let col = 0; col < cols; col++, i++) {
            const level = Math.round((weights[i] - low) * scale);
            pixels[at + col] = lut[level < 0 ? 0 : level > 255 ? 255 : level];
          }
        }
      }
    }
    toCanvas(image, this.sheet);
    return all.map(Boolean);
  }

  /** Numbers of layers and heads, a frame around what is shown, and one around the tile under the mouse. */
  label(context) {
    const { state, data, accent, ink } = this.view;
    const [wide, high] = this.tile;
    context.fillStyle = ink;
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    const every = (size) => Math.ceil(16 / size); // leave numbers out where they would touch
    for (let layer = 0; layer < data.depth; layer += every(wide)) {
      context.fillText(String(layer), GUTTER + (layer + 0.5) * wide - GAP / 2, GUTTER / 2);
    }
    for (let head = 0; head < data.heads; head += every(high)) {
      context.fillText(String(head), GUTTER / 2 - 1, GUTTER + (head + 0.5) * high - GAP / 2);
    }
    context.strokeStyle = accent;
    context.lineWidth = 2.5;
    const frame = (layer, head, count) =>
      context.strokeRect(GUTTER + layer * wide - 1, GUTTER + head * high - 1, wide, count * high);
    if (typeof state.head === "number") frame(state.layer, state.head, 1);
    else frame(state.layer, 0, data.heads);
    if (this.under) frame(this.under.layer, this.under.head, 1);
  }
}

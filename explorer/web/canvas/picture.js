// The picture: the photo with one map over it, its size in the window, and what is drawn on top.

import { isPatch, massMask, peak } from "./attention.js";
import {
  colorize, contextOf, enlarge, gridLines, maskOutline, normalize, patchBox, shadeCanvas, strokeOnGrid, toCanvas,
} from "./paint.js";

const SMOOTH_SIDE = 448; // bicubic enlarging goes up to this many pixels per side; the browser does the rest
const AROUND = 342; // pixels of a window that the page needs above the picture, and its files and tabs below
const LOW = 410; // pixels of a picture beside which there is no room for the classes, too
const CLASSES = 36; // pixels that they then take below it
const NARROW = 640; // where the tools lie below the picture
const THIN = { width: 220, height: 160 }; // pixels of a picture on which the readout would hide too much
const TOOLS = 330; // pixels that the tools get beside it, at least
const TOOLS_AND_MOSAIC = 470;

export class Painter {
  /** @param {import("./view.js").LiveView} view */
  constructor(view) {
    this.view = view;
    /** @type {HTMLCanvasElement} */
    this.canvas = view.part("picture");
    /** @type {Record<string, HTMLCanvasElement & { source?: HTMLCanvasElement }>} */
    this.layers = Object.fromEntries(["base", "heat", "shade"].map((name) => [name, document.createElement("canvas")]));
  }

  /** Give the picture its place: beside the tools where there is room, never higher than the window. */
  fit() {
    const { root, image, alone } = this.view;
    const { width, height } = image;
    const wide = root.clientWidth;
    const narrow = wide < NARROW || alone;
    root.classList.toggle("narrow", narrow);
    const beside = narrow ? wide : wide - (root.classList.contains("all-layers") ? TOOLS_AND_MOSAIC : TOOLS);
    const room = window.innerHeight - AROUND;
    const low = !narrow && room < LOW;
    root.classList.toggle("low", low);
    const tallest = Math.max(280, Math.min(760, room - (low ? CLASSES : 0)));
    const shownWidth = Math.floor(Math.min(beside, (tallest * width) / height));
    const shownHeight = Math.max(1, Math.round((shownWidth * height) / width));
    root.classList.toggle("thin", shownWidth < THIN.width || shownHeight < THIN.height);
    root.style.setProperty("--picture-width", `${shownWidth}px`);
    root.style.setProperty("--stage-width", `${Math.max(shownWidth, Math.min(THIN.width, beside))}px`);
    this.canvas.style.height = `${shownHeight}px`;
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(shownWidth * ratio), Math.round(shownHeight * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
  }

  /**
   * @param {Float32Array} weights "row col"
   * @param {[low: number, high: number]} limits what 0 and 1 of the colours stand for
   */
  paint(weights, limits) {
    const { grid } = this.view.data;
    const { look } = this.view.state;
    const context = contextOf(this.canvas);
    const [w, h] = [this.canvas.width, this.canvas.height];
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
    const { image } = this.view;
    if (base.source !== image || base.width !== w || base.height !== h) {
      Object.assign(base, { source: image, width: w, height: h });
      const context = contextOf(base);
      context.imageSmoothingQuality = "high";
      context.drawImage(image, 0, 0, w, h);
    }
    return base;
  }

  /** The coloured map on its own canvas: a pixel a patch, or enlarged; see-through outside the mask. */
  heat(weights, limits, mask) {
    const { grid } = this.view.data;
    const { width, height } = this.view.image;
    const { resample, colormap } = this.view.state.look;
    const smooth = resample !== "nearest";
    const longest = Math.max(width, height);
    const size = smooth ? [height, width].map((side, i) => Math.max(grid[i], Math.round((side * SMOOTH_SIDE) / longest))) : grid;
    const units = normalize(weights, limits);
    const image = colorize(smooth ? enlarge(units, grid, size) : units, size[1], this.view.luts[colormap]);
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
    const { state, hover, accent } = this.view;
    const { grid } = this.view.data;
    const unit = window.devicePixelRatio || 1;
    const stroke = (path, color, width) => strokeOnGrid(context, path, grid, color, width * unit);
    if (state.look.grid) stroke(gridLines(grid), "rgba(255, 255, 255, 0.5)", 0.5);
    if (mask) stroke(maskOutline(mask, grid), "rgba(255, 255, 255, 0.9)", 1.5);
    const top = peak(weights);
    const ring = new Path2D();
    ring.arc((top % grid[1]) + 0.5, Math.floor(top / grid[1]) + 0.5, 0.34, 0, 2 * Math.PI);
    stroke(ring, "rgba(255, 255, 255, 0.95)", 1.5);
    if (isPatch(state.query)) stroke(patchBox(state.query), "white", 2.5);
    if (hover) stroke(patchBox(hover), accent, 2.5);
  }
}

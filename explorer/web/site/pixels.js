// A photo as the model takes it: resized and cropped as Pillow's antialiased filters do it, then normalised.

/**
 * @typedef {{ width: number, height: number, data: Uint8ClampedArray }} Pixels "row col rgba"
 * @typedef {[left: number, upper: number, right: number, lower: number]} Box in the photo's own pixels
 * @typedef {{
 *   resize: [number, number], crop: [number, number], input: [number, number], squash: boolean, library: string,
 *   interpolation: string, mean: number[], std: number[],
 * }} Preparation what explorer/models/geometry.py calls a Geometry, sides as [height, width], and the normalisation
 */

const BITS = 22; // of the fraction in Pillow's fixed-point weights
const HALF = 2 ** (BITS - 1);

/** @type {Record<string, { support: number, at: (x: number) => number }>} */
const FILTERS = {
  box: { support: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  hamming: { support: 1, at: (x) => (Math.abs(x) < 1 ? sinc(x) * (0.54 + 0.46 * Math.cos(x * Math.PI)) : 0) },
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, at: (x) => cubic(Math.abs(x)) },
  lanczos: { support: 3, at: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

const cubic = (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0);
const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

/** Python's round: halves go to the even neighbour. */
const round = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/**
 * What a photo is resized to, as Geometry.resized.
 * @param {Preparation} how
 * @returns {[number, number]} [rows, cols]
 */
export function resized({ resize, squash }, width, height) {
  if (squash) return resize;
  if (resize[0] === resize[1]) {
    const short = Math.min(width, height);
    return [Math.trunc((resize[0] * height) / short), Math.trunc((resize[0] * width) / short)];
  }
  const ratio = Math.min(height / resize[0], width / resize[1]);
  return [round(height / ratio), round(width / ratio)];
}

/**
 * The photo as the model sees it.
 * @param {Pixels} photo
 * @param {Preparation} how
 * @returns {Uint8Array} "row col rgb" of how.input
 */
export function fit(photo, how) {
  const [rows, cols] = resized(how, photo.width, photo.height);
  const half = (rim) => (how.library === "transformers" ? Math.floor(rim / 2) : round(rim / 2));
  const [upper, left] = [half(rows - how.crop[0]), half(cols - how.crop[1])];
  const [x, y] = [photo.width / cols, photo.height / rows];
  const [height, width] = how.input;
  /** @type {Box} */
  const box = [left * x, upper * y, (left + width) * x, (upper + height) * y];
  return resample(photo, box, width, height, how.interpolation, how.library === "transformers");
}

/**
 * Pillow's Image.resize with a box, for three of four channels.
 * @param {Pixels} photo
 * @param {Box} box
 * @param {boolean} acrossFirst whether always across, then down, as torch resizes
 * @returns {Uint8Array} "row col rgb"
 */
export function resample(photo, box, width, height, interpolation, acrossFirst = false) {
  const [left, upper, right, lower] = box.map(Math.fround); // as Pillow holds them
  if (interpolation === "nearest") return nearest(photo, [left, upper, right, lower], width, height);
  const filter = FILTERS[interpolation];
  const across = weights(photo.width, left, right, width, filter);
  const down = weights(photo.height, upper, lower, height, filter);
  // The order matters, as what is between is rounded and clipped. Pillow since 13 begins with
  // down where the height shrinks by over twice as many pixels as the width.
  const shorter = photo.height - height;
  if (!acrossFirst && shorter > 0 && shorter > 2 * (photo.width - width)) {
    return withoutAlpha(filtered(filtered(photo, down, true), across, false));
  }
  const [first, last] = [down.starts[0], down.starts[height - 1] + down.counts[height - 1]];
  const rows = photo.data.subarray(first * photo.width * 4, last * photo.width * 4);
  const between = filtered({ width: photo.width, height: last - first, data: rows }, across, false);
  return withoutAlpha(filtered(between, { ...down, starts: down.starts.map((start) => start - first) }, true));
}

/**
 * One pass of a filter, rounded to 8 bits; the fourth channel is left empty.
 * @param {Pixels} photo
 * @param {{ values: Int32Array, starts: Int32Array, counts: Int32Array, size: number }} weights
 * @param {boolean} vertical whether down instead of across
 * @returns {Pixels}
 */
function filtered({ width, height, data }, { values, starts, counts, size }, vertical) {
  const [rows, cols] = vertical ? [counts.length, width] : [height, counts.length];
  const step = vertical ? width * 4 : 4;
  const out = new Uint8ClampedArray(rows * cols * 4);
  for (let row = 0, to = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++, to += 4) {
      const line = vertical ? row : col;
      let from = (vertical ? starts[row] * width + col : row * width + starts[col]) * 4;
      let [r, g, b] = [HALF, HALF, HALF];
      for (let w = line * size, end = w + counts[line]; w < end; w++, from += step) {
        const weight = values[w];
        r = (r + Math.imul(data[from], weight)) | 0;
        g = (g + Math.imul(data[from + 1], weight)) | 0;
        b = (b + Math.imul(data[from + 2], weight)) | 0;
      }
      out[to] = r >> BITS;
      out[to + 1] = g >> BITS;
      out[to + 2] = b >> BITS;
    }
  }
  return { width: cols, height: rows, data: out };
}

/** @param {Pixels} photo */
function withoutAlpha({ width, height, data }) {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = data[from];
    rgb[to + 1] = data[from + 1];
    rgb[to + 2] = data[from + 2];
  }
  return rgb;
}

/** Which pixels each output pixel is made of, and their weights in fixed point, `size` places for each. */
function weights(length, from, to, count, filter) {
  const scale = Math.fround(to - from) / count;
  const wide = Math.max(scale, 1);
  const support = filter.support * wide;
  const size = Math.ceil(support) * 2 + 1;
  const [values, starts, counts] = [new Int32Array(count * size), new Int32Array(count), new Int32Array(count)];
  for (let out = 0; out < count; out++) {
    const centre = from + (out + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(length, Math.trunc(centre + support + 0.5));
    const found = Array.from({ length: end - start }, (_, i) => filter.at((i + start - centre + 0.5) / wide));
    const total = found.reduce((sum, value) => sum + value, 0);
    found.forEach((value, i) => {
      const whole = (total ? value / total : value) * 2 ** BITS;
      values[out * size + i] = Math.trunc(whole + (whole < 0 ? -0.5 : 0.5));
    });
    [starts[out], counts[out]] = [start, end - start];
  }
  return { values, starts, counts, size };
}

function nearest(photo, [left, upper, right, lower], width, height) {
  const out = new Uint8Array(width * height * 3);
  for (let row = 0; row < height; row++) {
    for (let col = 0; col < width; col++) {
      const x = Math.min(photo.width - 1, Math.floor(left + ((col + 0.5) * (right - left)) / width));
      const y = Math.min(photo.height - 1, Math.floor(upper + ((row + 0.5) * (lower - upper)) / height));
      for (let i = 0; i < 3; i++) out[(row * width + col) * 3 + i] = photo.data[(y * photo.width + x) * 4 + i];
    }
  }
  return out;
}

/**
 * (value / 255 - mean) / std, "channel row col".
 * @param {Uint8Array} rgb "row col rgb"
 * @param {Preparation} how
 */
export function normalised(rgb, { mean, std }) {
  const count = rgb.length / 3;
  const out = new Float32Array(rgb.length);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < count; i++) out[channel * count + i] = (rgb[i * 3 + channel] / 255 - mean[channel]) / std[channel];
  }
  return out;
}

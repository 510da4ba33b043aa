// From weights on patches to pixels: scaling to 0..1, enlarging, colours, and what is drawn over the picture.

/** Weights -> 0..1 between low and high; a flat map becomes zeros. */
export function normalize(weights, [low, high]) {
  const units = new Float32Array(weights.length);
  if (high > low) for (let i = 0; i < weights.length; i++) units[i] = (weights[i] - low) / (high - low);
  return units;
}

/** The cubic convolution kernel with a = -0.5, as Pillow's BICUBIC. */
function cubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

const tapsBySize = new Map();

/** For each of `size` output positions over `length` inputs: the first input and four weights, renormalised at edges. */
function taps(length, size) {
  const key = `${length}:${size}`;
  if (!tapsBySize.has(key)) {
    const first = new Int32Array(size);
    const weights = new Float32Array(size * 4);
    for (let out = 0; out < size; out++) {
      const center = ((out + 0.5) * length) / size;
      first[out] = Math.floor(center - 1.5);
      let sum = 0;
      for (let tap = 0; tap < 4; tap++) {
        const input = first[out] + tap;
        const weight = input < 0 || input >= length ? 0 : cubic(input + 0.5 - center);
        weights[out * 4 + tap] = weight;
        sum += weight;
      }
      for (let tap = 0; tap < 4; tap++) weights[out * 4 + tap] /= sum;
    }
    tapsBySize.set(key, { first, weights });
  }
  return tapsBySize.get(key);
}

/**
 * Bicubic interpolation, one axis after the other.
 * @param {Float32Array} values "row col"
 * @param {number[]} grid rows, cols
 * @param {number[]} size height, width
 * @returns {Float32Array} "height width"
 */
export function enlarge(values, [rows, cols], [height, width]) {
  const across = taps(cols, width);
  const down = taps(rows, height);
  const wide = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let tap = 0; tap < 4; tap++) {
        const weight = across.weights[x * 4 + tap];
        if (weight) sum += weight * values[row * cols + across.first[x] + tap];
      }
      wide[row * width + x] = sum;
    }
  }
  const full = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let tap = 0; tap < 4; tap++) {
      const weight = down.weights[y * 4 + tap];
      if (!weight) continue;
      const from = (down.first[y] + tap) * width;
      for (let x = 0, to = y * width; x < width; x++, to++) full[to] += weight * wide[from + x];
    }
  }
  return full;
}

/**
 * An image of that width in the colours of `lut`.
 * @param {Float32Array} units 0..1
 * @param {number} width
 * @param {Uint32Array} lut 256 packed RGBA numbers
 */
export function colorize(units, width, lut) {
  const image = new ImageData(width, units.length / width);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < units.length; i++) {
    const level = Math.round(units[i] * 255);
    pixels[i] = lut[level < 0 ? 0 : level > 255 ? 255 : level];
  }
  return image;
}

/**
 * Packed little-endian RGBA numbers, opaque.
 * @param {ArrayLike<number>} rgb bytes "... 3"
 */
export function packRgb(rgb) {
  const packed = new Uint32Array(rgb.length / 3);
  for (let i = 0; i < packed.length; i++) {
    packed[i] = (255 << 24) | (rgb[3 * i + 2] << 16) | (rgb[3 * i + 1] << 8) | rgb[3 * i];
  }
  return packed;
}

/**
 * The 2D context of a canvas, which every browser has.
 * @param {HTMLCanvasElement} canvas
 * @returns {CanvasRenderingContext2D}
 */
export const contextOf = (canvas) => /** @type {any} */ (canvas.getContext("2d"));

/** An off-screen canvas that holds those pixels. */
export function toCanvas(imageData, canvas = document.createElement("canvas")) {
  if (canvas.width !== imageData.width || canvas.height !== imageData.height) {
    canvas.width = imageData.width;
    canvas.height = imageData.height;
  }
  contextOf(canvas).putImageData(imageData, 0, 0);
  return canvas;
}

const SHADE = 0x8c000000; // 55 % black over the patches outside a mass mask

/** A grid-sized canvas that darkens what lies outside the mask. */
export function shadeCanvas(mask, cols, canvas) {
  const image = new ImageData(cols, mask.length / cols);
  new Uint32Array(image.data.buffer).forEach((_, i, pixels) => (pixels[i] = mask[i] ? 0 : SHADE));
  return toCanvas(image, canvas);
}

/** The border between a mask's inside and outside, in grid units. */
export function maskOutline(mask, [rows, cols]) {
  const path = new Path2D();
  const inside = (row, col) => row >= 0 && col >= 0 && row < rows && col < cols && mask[row * cols + col];
  for (let row = 0; row <= rows; row++) {
    for (let col = 0; col <= cols; col++) {
      if (!inside(row, col) !== !inside(row - 1, col)) (path.moveTo(col, row), path.lineTo(col + 1, row));
      if (!inside(row, col) !== !inside(row, col - 1)) (path.moveTo(col, row), path.lineTo(col, row + 1));
    }
  }
  return path;
}

/** The lines between patches, in grid units. */
export function gridLines([rows, cols]) {
  const path = new Path2D();
  for (let row = 1; row < rows; row++) (path.moveTo(0, row), path.lineTo(cols, row));
  for (let col = 1; col < cols; col++) (path.moveTo(col, 0), path.lineTo(col, rows));
  return path;
}

/** The border of one patch, in grid units. */
export function patchBox([row, col]) {
  const path = new Path2D();
  path.rect(col, row, 1, 1);
  return path;
}

/** Stroke a path given in grid units, dark below and coloured above, so that it shows on any picture. */
export function strokeOnGrid(context, path, [rows, cols], color, width) {
  const onScreen = new Path2D();
  const { width: w, height: h } = context.canvas;
  onScreen.addPath(path, new DOMMatrix([w / cols, 0, 0, h / rows, 0, 0]));
  context.lineJoin = "round";
  context.strokeStyle = "rgba(0, 0, 0, 0.55)";
  context.lineWidth = width * 2;
  context.stroke(onScreen);
  context.strokeStyle = color;
  context.lineWidth = width;
  context.stroke(onScreen);
}

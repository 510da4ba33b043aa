// From q and k to attention weights: softmax(q k^T * scale + bias) of one query, fusion over heads, mass.
// Pure functions on typed arrays; nothing here touches the page, and background.js sends some of them to a worker.

/**
 * @typedef {[row: number, col: number]} Patch
 * @typedef {Patch | string} Query a patch, or the name of a prefix token, or "mean" over all patches
 * @typedef {number | string} Head one head by its index, or a fusion
 * @typedef {{ shape: number[], data: Float32Array | Uint8Array }} Tensor
 * @typedef {{ q: Tensor, k: Tensor, bias?: Tensor, scale: number }} Layer q, k "head token dim", bias "head|1 token|1 token"
 */

export const FUSIONS = ["mean", "max", "min"];

/** @type {(query: Query) => query is Patch} */
export const isPatch = (query) => Array.isArray(query);

/**
 * Softmax over `row` in place; a row of only -Infinity becomes zeros.
 * @param {Float64Array} row
 */
export function softmax(row) {
  let highest = -Infinity;
  for (let i = 0; i < row.length; i++) if (row[i] > highest) highest = row[i];
  if (highest === -Infinity) return row.fill(0);
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += row[i] = Math.exp(row[i] - highest);
  for (let i = 0; i < row.length; i++) row[i] /= sum;
  return row;
}

/**
 * One query's attention in every head: softmax over all tokens, prefix tokens included.
 * @param {Layer} layer
 * @param {number} token index of the query
 * @returns {Float32Array} "head token"
 */
export function attentionRows(layer, token) {
  const [heads, tokens, dim] = layer.q.shape;
  const q = layer.q.data;
  const k = layer.k.data;
  const rows = new Float32Array(heads * tokens);
  const scores = new Float64Array(tokens);
  for (let head = 0; head < heads; head++) {
    const asks = q.subarray((head * tokens + token) * dim, (head * tokens + token + 1) * dim);
    for (let key = 0, at = head * tokens * dim; key < tokens; key++, at += dim) {
      let dot = 0;
      for (let d = 0; d < dim; d++) dot += asks[d] * k[at + d];
      scores[key] = dot * layer.scale;
    }
    if (layer.bias) addBias(scores, layer.bias, head, token);
    rows.set(softmax(scores), head * tokens);
  }
  return rows;
}

/**
 * Add a query's row of the bias to its scores.
 * @param {Float64Array} scores
 * @param {Tensor} bias "head query key", where heads and queries may share one
 * @param {number} head
 * @param {number} token index of the query
 */
export function addBias(scores, bias, head, token) {
  const [heads, queries, keys] = bias.shape;
  const row = ((heads === 1 ? 0 : head) * queries + (queries === 1 ? 0 : token)) * keys;
  for (let key = 0; key < keys; key++) scores[key] += bias.data[row + key];
}

/**
 * The row of one head, or of a fusion over heads.
 * @param {Float32Array} rows "head token"
 * @param {number} heads
 * @param {Head} head
 * @returns {Float32Array} "token"
 */
export function fuse(rows, heads, head) {
  const tokens = rows.length / heads;
  if (typeof head === "number") return rows.subarray(head * tokens, (head + 1) * tokens);
  const fused = rows.slice(0, tokens);
  const pick = { mean: (a, b) => a + b, max: Math.max, min: Math.min }[head];
  for (let h = 1; h < heads; h++) {
    for (let t = 0; t < tokens; t++) fused[t] = pick(fused[t], rows[h * tokens + t]);
  }
  if (head === "mean") for (let t = 0; t < tokens; t++) fused[t] /= heads;
  return fused;
}

/**
 * The smallest set of entries that holds `mass` of the sum, as 0 and 1: DINO's --threshold.
 * @param {Float32Array} weights
 * @param {number} mass
 */
export function massMask(weights, mass) {
  const order = Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a] || a - b);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const mask = new Uint8Array(weights.length);
  let held = 0;
  for (const index of order) {
    if (held >= mass * total) break;
    mask[index] = 1;
    held += weights[index];
  }
  return mask;
}

/**
 * Weights "row col" with the masked patches at the lowest weight that remains: they neither shine nor set the scale.
 * @param {Float32Array} weights
 * @param {ArrayLike<number>} mask
 */
export function withoutMasked(weights, mask) {
  let lowest = Infinity;
  for (let i = 0; i < weights.length; i++) if (!mask[i] && weights[i] < lowest) lowest = weights[i];
  return weights.map((weight, i) => (mask[i] ? lowest : weight));
}

/**
 * The lowest and the highest of some weights.
 * @param {Float32Array} weights
 * @returns {[low: number, high: number]}
 */
export function range(weights) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] < low) low = weights[i];
    if (weights[i] > high) high = weights[i];
  }
  return [low, high];
}

/**
 * Index of the largest weight.
 * @param {Float32Array} weights
 */
export function peak(weights) {
  let best = 0;
  for (let i = 1; i < weights.length; i++) if (weights[i] > weights[best]) best = i;
  return best;
}

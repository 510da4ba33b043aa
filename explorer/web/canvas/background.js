// What takes longer than a frame, in a worker: rollout, and the mean over all patches that ask.

import { addBias, attentionRows, fuse, softmax } from "./attention.js";

/**
 * @typedef {import("./attention.js").Layer} Layer
 * @typedef {{ what: "rollout", tokens: number[], fusion: string, start: number }} RolloutAsked
 * @typedef {{ what: "mean", layer: number, tokens: number[] }} MeanAsked
 */

/**
 * A' of a layer, "query key": 0.5 A + 0.5 I with A fused over heads, every row divided by its own sum
 * (Abnar & Zuidema 2020).
 * @param {Layer} layer
 * @param {string} fusion
 */
export function mixing(layer, fusion) {
  const [heads, tokens] = layer.q.shape;
  const mixed = new Float32Array(tokens * tokens);
  for (let token = 0; token < tokens; token++) {
    const row = fuse(attentionRows(layer, token), heads, fusion);
    let sum = 1;
    for (let key = 0; key < tokens; key++) sum += row[key];
    const at = token * tokens;
    for (let key = 0; key < tokens; key++) mixed[at + key] = row[key] / sum;
    mixed[at + token] += 1 / sum;
  }
  return mixed;
}

/**
 * One row vector through a layer: r A'.
 * @param {Float32Array} row "token"
 * @param {Float32Array} mixed "query key"
 */
export function push(row, mixed) {
  const tokens = row.length;
  const out = new Float32Array(tokens);
  for (let query = 0; query < tokens; query++) {
    const weight = row[query];
    if (!weight) continue;
    for (let key = 0, at = query * tokens; key < tokens; key++, at++) out[key] += weight * mixed[at];
  }
  return out;
}

/**
 * The mean of several queries' rows in every head.
 * @param {Layer} layer
 * @param {number[]} tokens the queries
 * @returns {Float32Array} "head token"
 */
export function meanRows(layer, tokens) {
  const sum = new Float32Array(layer.q.shape[0] * layer.q.shape[1]);
  for (const token of tokens) {
    const rows = attentionRows(layer, token);
    for (let i = 0; i < sum.length; i++) sum[i] += rows[i];
  }
  return sum.map((each) => each / tokens.length);
}

/** What answers, in the worker: it is given layers, keeps what it made of them, and answers one question at a time. */
function answerer() {
  /** @type {Layer[]} */
  const layers = [];
  /** @type {Map<string, Float32Array>} */
  const kept = new Map();
  const most = 128 * 2 ** 20; // bytes of matrices kept

  const mixingOf = (layer, fusion) => {
    const name = `${layer} ${fusion}`;
    const mixed = kept.get(name) ?? mixing(layers[layer], fusion);
    if (mixed.byteLength * layers.length <= most) {
      for (const other of kept.keys()) if (!other.endsWith(fusion)) kept.delete(other);
      kept.set(name, mixed);
    }
    return mixed;
  };
  const answer = (asked) => {
    if (asked.what === "mean") return meanRows(layers[asked.layer], asked.tokens);
    /** @type {Float32Array} */
    let row = new Float32Array(layers[0].q.shape[1]);
    for (const token of asked.tokens) row[token] = 1 / asked.tokens.length;
    for (let layer = layers.length - 1; layer >= asked.start; layer--) row = push(row, mixingOf(layer, asked.fusion));
    return row;
  };
  return (data) => {
    if (!data.given) return answer(data);
    layers[data.index] = data.given;
    return null;
  };
}

const PARTS = [softmax, addBias, attentionRows, fuse, mixing, push, meanRows];

/** The worker of one recording. It starts at the first question; while it is busy, one question waits. */
export class Background {
  /**
   * @param {(Layer | null)[]} layers
   * @param {() => void} onAnswer called when an answer is there
   */
  constructor(layers, onAnswer) {
    this.layers = layers;
    this.onAnswer = onAnswer;
    /** @type {Pick<Worker, "postMessage" | "terminate"> | null} */
    this.worker = null;
    /** @type {Set<number>} */
    this.given = new Set();
    /** @type {Map<string, Float32Array>} */
    this.answers = new Map();
    /** @type {string | null} */
    this.busy = null; // with this question
    /** @type {string | null} */
    this.next = null; // the one that waits
  }

  /**
   * The answer, or null while it is being worked out. Every layer that it needs must be there.
   * @param {RolloutAsked | MeanAsked} asked
   * @returns {Float32Array | null}
   */
  ask(asked) {
    const question = JSON.stringify(asked);
    const answer = this.answers.get(question);
    if (!answer && question !== this.busy) {
      this.next ??= question;
      this.work();
    }
    return answer ?? null;
  }

  work() {
    if (this.busy || !this.next) return;
    this.worker ??= this.start();
    for (const [index, layer] of this.layers.entries()) {
      if (layer && !this.given.has(index)) this.worker.postMessage({ index, given: layer });
      if (layer) this.given.add(index);
    }
    [this.busy, this.next] = [this.next, null];
    this.worker.postMessage(JSON.parse(this.busy));
  }

  start() {
    const script = `${PARTS.map(String).join("\n")}
      const answer = (${answerer})();
      self.onmessage = ({ data }) => {
        const found = answer(data);
        if (found) self.postMessage(found);
      };`;
    const worker = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
    worker.onmessage = ({ data }) => this.take(data);
    worker.onerror = () => this.workHere();
    return worker;
  }

  /** The same without a worker, which the frames of some notebooks, such as VS Code's, don't allow. */
  workHere() {
    const answer = answerer();
    const postMessage = (data) => {
      setTimeout(() => {
        const found = answer(data);
        if (found) this.take(found);
      });
    };
    this.worker = { postMessage, terminate() {} };
    this.given.clear();
    [this.next, this.busy] = [this.busy, null]; // asked once more
    this.work();
  }

  take(answer) {
    if (this.answers.size >= 256) this.answers.clear();
    this.answers.set(/** @type {string} */ (this.busy), answer);
    this.busy = null;
    this.onAnswer();
    this.work();
  }

  end() {
    this.worker?.terminate();
  }
}

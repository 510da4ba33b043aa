// Safetensors: a JSON header, then raw numbers. What Python sends, and what the canvas keeps, comes in this form.

/** @typedef {import("./attention.js").Tensor} Tensor */

const READERS = {
  F32: (buffer) => new Float32Array(buffer),
  F16: (buffer) => halvesToFloats(new Uint16Array(buffer)),
  U8: (buffer) => new Uint8Array(buffer),
};

/** @type {Float32Array | null} */
let halfTable = null;

/** All 65,536 half-precision numbers as float32, made once: decoding is then one look-up a number. */
function halves() {
  if (halfTable) return halfTable;
  halfTable = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) halfTable[bits] = sign * fraction * 2 ** -24;
    else if (exponent === 31) halfTable[bits] = fraction ? NaN : sign * Infinity;
    else halfTable[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return halfTable;
}

function halvesToFloats(bits) {
  const table = halves();
  const floats = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) floats[i] = table[bits[i]];
  return floats;
}

/**
 * The tensors by name and the metadata of safetensors bytes.
 * @param {Uint8Array} bytes
 * @returns {{ tensors: Record<string, Tensor>, metadata: Record<string, string> }}
 */
export function parseSafetensors(bytes) {
  const headerLength = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerLength)));
  /** @type {Record<string, Tensor>} */
  const tensors = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [start, end] = entry.data_offsets;
    // slice() copies: a typed array needs an aligned start, which bytes inside a message don't have.
    const buffer = bytes.slice(8 + headerLength + start, 8 + headerLength + end).buffer;
    tensors[name] = { shape: entry.shape, data: READERS[entry.dtype](buffer) };
  }
  return { tensors, metadata: header.__metadata__ ?? {} };
}

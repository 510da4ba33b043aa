// Every word that says what is shown: names, shares, the readout on the picture, and the words for those who can't see it.

import { isPatch } from "./attention.js";

/**
 * @typedef {import("./attention.js").Patch} Patch
 * @typedef {import("./view.js").LiveView} LiveView
 * @typedef {import("./view.js").Shown} Shown
 */

export const headName = (head) => (typeof head === "number" ? `head ${head}` : `${head} of heads`);
export const queryName = (query) => {
  if (isPatch(query)) return `patch (${query[0]}, ${query[1]})`;
  return query === "mean" ? "mean of patches" : query;
};
const placeName = ([row, col]) => `row ${row}, column ${col}`;
export const weightText = (weight) => (weight !== 0 && weight < 0.001 ? weight.toPrecision(2) : weight.toFixed(4));
/** A weight as a share of all attention: two digits, more only where the number has them before its point. */
export const percent = (weight) =>
  `${weight && weight < 0.1 ? Number((100 * weight).toPrecision(2)) : Math.round(100 * weight)} %`;

/**
 * Which map that is: "layer 9, mean of heads", or "rollout from layer 0, mean of heads".
 * @param {{ shows: string, layer: number, head: import("./attention.js").Head }} shown
 */
export function mapName({ shows, layer, head }) {
  return `${shows === "rollout" ? "rollout from " : ""}layer ${layer}, ${headName(head)}`;
}

/**
 * The readout: what the query gives most to, or, where one weight is read, what that patch gets.
 * @param {LiveView} view
 * @param {Shown} shown
 * @param {Patch} top the patch with the highest weight
 */
export function readout(view, shown, top) {
  const { weights, query } = shown;
  const cols = view.data.grid[1];
  const asks = queryName(query);
  const at = view.hover;
  const rolled = shown.shows === "rollout";
  if (at && query !== at) {
    const out = view.hidden()?.[at[0] * cols + at[1]];
    const said = out ? "taken out" : `${percent(weights[at[0] * cols + at[1]])} of the ${rolled ? "rollout" : "attention"} of ${asks}`;
    return `${placeName(at)}: ${said} · ${mapName(shown)}`;
  }
  const mean = weights.reduce((sum, each) => sum + each, 0) / weights.length;
  const most = `${percent(weights[top[0] * cols + top[1]])} of its ${rolled ? "rollout" : "attention"} (average ${percent(mean)})`;
  return `${asks} gives ${placeName(top)} the most: ${most} · ${mapName(shown)}`;
}

/**
 * The picture in words.
 * @param {LiveView} view
 * @param {Shown} shown
 * @param {Patch} top
 */
export function altText(view, shown, top) {
  const { grid } = view.data;
  const what = shown.shows === "rollout" ? "Rollout from" : "Attention of";
  const weight = weightText(shown.weights[top[0] * grid[1] + top[1]]);
  return `${what} layer ${shown.layer}, ${headName(shown.head)}, from ${queryName(shown.query)}: highest weight ${weight} at patch (${top.join(", ")}) of ${grid[0]} by ${grid[1]}.`;
}

/**
 * What a person can do with the picture, by mouse and keys or by touch.
 * @param {boolean} live whether the browser can ask any patch by itself
 * @param {boolean} steps whether layers and heads can be changed here
 */
export function helpText(live, steps) {
  if (matchMedia("(hover: none)").matches) {
    return "Slide over the picture to see where each patch looks. Tap a patch to keep it; tap it again to let go.";
  }
  if (!live) return "Click a patch to see where it looks; arrow keys move it, Esc lets go. The mouse reads single weights.";
  const keys = steps ? " Keys: [ and ] for the layer, 0 to 9 for a head, m for their mean." : "";
  return `Move over the picture to see where each patch looks. Click to keep a patch, arrow keys move it, Esc lets go. Hold Shift to read single weights.${keys}`;
}

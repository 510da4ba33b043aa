// The tools beside the picture, the small maps of all heads, and every word that says what is shown.

import { FUSIONS, isPatch, peak } from "./attention.js";

/** @typedef {import("./attention.js").Head} Head */

const EDGES = [
  ["bicubic", "smooth", "Bicubic between patches"],
  ["nearest", "blocks", "One colour per patch"],
];
const SCALES = [
  ["map", "this map's highest", "From the lowest to the highest weight of each map"],
  ["shared", "the layer's highest", "One scale for all heads of this layer, so that they compare"],
  ["raw", "weight 1", "The weights themselves, from 0 to 1: nearly always black, since weights are small"],
];

export const headName = (head) => (typeof head === "number" ? `head ${head}` : `${head} of heads`);
export const queryName = (query) => {
  if (isPatch(query)) return `patch (${query[0]}, ${query[1]})`;
  return query === "mean" ? "mean of patches" : query;
};
const placeName = ([row, col]) => `row ${row}, column ${col}`;
const weightText = (weight) => (weight !== 0 && weight < 0.001 ? weight.toPrecision(2) : weight.toFixed(4));
/** A weight as a share of all attention: two digits, more only where the number has them before its point. */
const percent = (weight) => `${weight && weight < 0.1 ? Number((100 * weight).toPrecision(2)) : Math.round(100 * weight)} %`;

/**
 * A button that is one of several choices.
 * @template T
 * @param {T} value
 * @param {string} text
 * @param {string} title
 * @param {(value: T) => void} pick
 */
function choice(value, text, title, pick) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("role", "radio");
  button.dataset.value = String(value);
  button.textContent = text;
  button.title = title;
  button.addEventListener("click", () => pick(value));
  return button;
}

/** Mark one button of a group as the chosen one; Tab reaches only that one, or the first where none is chosen. */
function check(group, value) {
  const buttons = [...group.querySelectorAll("[role=radio]")];
  const chosen = buttons.find((button) => button.dataset.value === String(value));
  for (const button of buttons) {
    button.setAttribute("aria-checked", button === chosen);
    button.tabIndex = button === (chosen ?? buttons[0]) ? 0 : -1;
  }
}

/** Arrow keys walk through a group of choices, as in any group of radio buttons. */
function walk(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const buttons = [...event.currentTarget.querySelectorAll("[role=radio]")];
  const at = buttons.indexOf(event.target);
  if (!step || at < 0) return;
  event.preventDefault();
  const next = buttons[(at + step + buttons.length) % buttons.length];
  next.focus();
  next.click();
}

export class Controls {
  /** @param {import("./view.js").LiveView} view */
  constructor(view) {
    this.view = view;
    this.part = view.part;
    /** @type {[Head, HTMLCanvasElement][]} */
    this.thumbs = [];
    this.built = "";
    for (const [part, choices] of Object.entries({ resample: EDGES, scale: SCALES })) {
      const buttons = choices.map(([value, text, title]) => choice(value, text, title, () => view.setLook({ [part]: value })));
      this.part(part).replaceChildren(...buttons);
    }
    /** @type {NodeListOf<HTMLElement>} */
    const groups = view.root.querySelectorAll("[role=radiogroup]");
    for (const group of groups) group.onkeydown = walk;
    this.follow("opacity", Number);
    this.follow("mass", (value) => (Number(value) < 1 ? Number(value) : null));
    this.part("grid").addEventListener("change", (event) => view.setLook({ grid: event.target.checked }));
    this.part("hide").addEventListener("change", (event) => view.setLook({ hide_artefacts: event.target.checked }));
  }

  /** A slider redraws while it is dragged and tells Python when it is let go. */
  follow(name, read) {
    const slider = this.part(name);
    slider.addEventListener("input", () => this.view.setLook({ [name]: read(slider.value) }, false));
    slider.addEventListener("change", () => this.view.report());
  }

  /** Make the buttons that depend on the model: queries, colour maps, heads. */
  build(data) {
    const wanted = JSON.stringify([data.prefix, data.heads, data.colormaps, data.grid]);
    if (wanted === this.built) return;
    this.built = wanted;
    const { view } = this;
    const queries = [...data.prefix, "mean"];
    this.part("query").replaceChildren(
      ...queries.map((query) => choice(query, queryName(query), "Show where it looks", () => view.set({ query }))),
    );
    this.part("colormap").replaceChildren(...data.colormaps.map((name) => this.swatch(name, data.luts[name])));
    this.thumbs = [...FUSIONS, ...Array(data.heads).keys()].map((head) => [head, document.createElement("canvas")]);
    this.part("heads").replaceChildren(...this.thumbs.map(([head, canvas]) => this.thumb(head, canvas)));
    this.part("heads").style.setProperty("--aspect", data.width / data.height);
  }

  swatch(name, lut) {
    const button = choice(name, "", name, (colormap) => this.view.setLook({ colormap }));
    button.setAttribute("aria-label", name);
    button.style.backgroundImage = gradient(lut);
    return button;
  }

  thumb(head, canvas) {
    const button = choice(head, "", `Show ${headName(head)}`, () => this.view.set({ head }));
    button.setAttribute("aria-label", headName(head));
    const label = document.createElement("span");
    label.textContent = String(head);
    canvas.setAttribute("aria-hidden", "true");
    button.append(canvas, label);
    return button;
  }

  /** Bring every control in line with the state. */
  show({ query, head, look }) {
    check(this.part("query"), isPatch(query) ? "" : query);
    check(this.part("colormap"), look.colormap);
    check(this.part("resample"), look.resample);
    check(this.part("scale"), look.scale);
    check(this.part("heads"), head);
    this.part("heads").classList.toggle("nearest", look.resample === "nearest");
    this.part("grid").checked = look.grid;
    const count = this.view.data.outlying?.reduce((sum, one) => sum + one, 0) ?? null;
    this.part("hide").checked = Boolean(count && look.hide_artefacts);
    this.part("hide").disabled = !count;
    const odd = count === 1 ? "1 odd patch" : `${count || ""} odd patches`.trim();
    const without = count === null ? ": not known" : count ? "" : ": none here";
    this.part("hide-label").textContent = `Hide ${odd} (artefacts)${without}`;
    this.part("opacity").value = look.opacity;
    this.part("mass").value = look.mass ?? 1;
    this.part("opacity-value").textContent = `${Math.round(look.opacity * 100)} %`;
    this.part("mass-value").textContent = look.mass === null ? "all" : `top ${Math.round(look.mass * 100)} % of the attention`;
    this.part("help").textContent = helpText(this.view.live);
    this.part("note").textContent = this.view.data.note;
  }

  /** Readout, colour bar and alt text of what was just drawn. */
  describe(view, query, weights, [low, high]) {
    const { grid, layer, luts, heads } = view.data;
    const { head, look } = view.state;
    const top = peak(weights);
    /** @type {[number, number]} */
    const peakAt = [Math.floor(top / grid[1]), top % grid[1]];
    const readsOne = view.hover && query !== view.hover;
    const takenOut = readsOne && view.hidden()?.[view.hover[0] * grid[1] + view.hover[1]];
    const weight = readsOne ? weights[view.hover[0] * grid[1] + view.hover[1]] : weights[top];
    const mean = weights.reduce((sum, each) => sum + each, 0) / weights.length;
    const asks = queryName(query);
    const said = readsOne
      ? `${placeName(view.hover)}: ${takenOut ? "taken out" : `${percent(weight)} of the attention of ${asks}`}`
      : `${asks} gives ${placeName(peakAt)} the most: ${percent(weight)} of its attention (average ${percent(mean)})`;
    this.part("readout").textContent = `${said} · ${headName(head)}`;
    this.part("low").textContent = weightText(low);
    this.part("high").textContent = (weights[top] > high * 1.0001 ? "≥ " : "") + weightText(high);
    this.part("ramp").style.backgroundImage = gradient(luts[look.colormap]);
    const alt = `Attention of layer ${layer}, ${headName(head)}, from ${queryName(query)}: highest weight ${weightText(weights[top])} at patch (${peakAt.join(", ")}) of ${grid[0]} by ${grid[1]}.`;
    view.picture.setAttribute("aria-label", alt);
    view.picture.textContent = alt;
    if (!view.hover) this.part("alt").textContent = alt;
    this.part("heads").setAttribute("aria-label", `The ${heads} heads of layer ${layer}, and their mean, max and min`);
  }
}

/** What a person can do with the picture, by mouse and keys or by touch. */
function helpText(live) {
  if (matchMedia("(hover: none)").matches) {
    return "Slide over the picture to see where each patch looks. Tap a patch to keep it; tap it again to let go.";
  }
  return live
    ? "Move over the picture to see where each patch looks. Click to keep a patch, arrow keys move it, Esc lets go. Hold Shift to read single weights."
    : "Click a patch to see where it looks; arrow keys move it, Esc lets go. The mouse reads single weights.";
}

/** A CSS gradient of a packed colour table. */
function gradient(lut) {
  const stops = Array.from({ length: 17 }, (_, i) => lut[Math.round((i * 255) / 16)]);
  return `linear-gradient(90deg, ${stops.map((c) => `rgb(${c & 255} ${(c >> 8) & 255} ${(c >> 16) & 255})`).join(", ")})`;
}

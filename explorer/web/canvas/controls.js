// The tools beside the picture, in line with what is shown.

import { FUSIONS, isPatch, peak } from "./attention.js";
import { check, choice, walk } from "./choices.js";
import { altText, headName, helpText, percent, queryName, readout, weightText } from "./words.js";

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
const KINDS = [
  ["attention", "attention", "The softmax weights of this layer and head"],
  ["rollout", "rollout", "Attention followed down through the layers, from the last to this one (Abnar & Zuidema 2020)"],
];
const MAPS = [
  ["false", "this layer", "The heads of this layer, and their mean, max and min"],
  ["true", "all layers × heads", "Every head of every layer; point at one to see it large"],
];
const RARE = { mass: null, resample: "bicubic", scale: "map", grid: false, hide_artefacts: false };

export class Controls {
  /** @param {import("./view.js").LiveView} view */
  constructor(view) {
    this.view = view;
    this.part = view.part;
    /** @type {Head[]} */
    this.heads = []; // in the order of the head slider
    this.built = "";
    const look = (name) => (value) => view.setLook({ [name]: value });
    /** @type {Record<string, [choices: string[][], pick: (value: any) => void]>} */
    const groups = {
      resample: [EDGES, look("resample")],
      scale: [SCALES, look("scale")],
      shows: [KINDS, (shows) => view.set({ shows })],
      "mosaic-switch": [MAPS, (mosaic) => view.setLook({ mosaic: mosaic === "true" })],
    };
    for (const [part, [choices, pick]] of Object.entries(groups)) {
      this.part(part).replaceChildren(...choices.map(([value, text, title]) => choice(value, text, title, pick)));
    }
    /** @type {NodeListOf<HTMLElement>} */
    const radios = view.root.querySelectorAll("[role=radiogroup]");
    for (const group of radios) group.onkeydown = walk;
    this.follow("layer", (layer) => view.pick({ layer: Number(layer) }, "soon"));
    this.follow("head", (index) => view.pick({ head: this.heads[index] }, "soon"));
    this.follow("opacity", (value) => this.dragLook({ opacity: Number(value) }));
    this.follow("mass", (value) => this.dragLook({ mass: Number(value) < 1 ? Number(value) : null }));
    this.part("grid").addEventListener("change", (event) => view.setLook({ grid: event.target.checked }));
    this.part("hide").addEventListener("change", (event) => view.setLook({ hide_artefacts: event.target.checked }));
    this.part("play").onclick = () => view.player.toggle();
  }

  /** A slider redraws while it is dragged, and Python hears of it when the hand rests. */
  follow(name, take) {
    const slider = this.part(name);
    slider.addEventListener("input", () => take(slider.value));
    slider.addEventListener("change", () => this.view.report());
  }

  dragLook(change) {
    this.view.set({ look: { ...this.view.state.look, ...change } }, "soon");
  }

  /** Make what depends on the model: queries, colour maps, heads. */
  build(data) {
    const { view } = this;
    this.classes(data.classes ?? []);
    const wanted = JSON.stringify([data.prefix, data.heads, data.depth, data.colormaps, data.grid, data.steps]);
    if (wanted === this.built) return;
    if (!this.built) this.part("more").open = Object.entries(RARE).some(([name, usual]) => data.look[name] !== usual);
    this.built = wanted;
    const ask = (query) => choice(query, queryName(query), "Show where it looks", () => view.set({ query }));
    this.part("query").replaceChildren(...[...data.prefix, "mean"].map(ask));
    this.part("colormap").replaceChildren(...data.colormaps.map((name) => this.swatch(name, view.luts[name])));
    this.heads = [...FUSIONS, ...Array(data.heads).keys()];
    this.part("layer").max = data.depth - 1;
    this.part("head").max = this.heads.length - 1;
    view.root.classList.toggle("fixed", !data.steps);
    view.headMaps.build(data.heads, view.image.width / view.image.height);
  }

  swatch(name, lut) {
    const button = choice(name, "", name, (colormap) => this.view.setLook({ colormap }));
    button.setAttribute("aria-label", name);
    button.style.backgroundImage = gradient(lut);
    return button;
  }

  /** The likeliest classes with a bar each: [name, what it says, share or null]. */
  classes(found) {
    const lines = found.map(([name, said, share]) => {
      const line = document.createElement("li");
      const [label, value] = [name, said].map((text) => {
        const span = document.createElement("span");
        span.textContent = text;
        return span;
      });
      label.title = name;
      if (share !== null) line.style.setProperty("--share", String(share));
      line.append(label, value);
      return line;
    });
    this.part("classes").replaceChildren(...lines);
  }

  /** Bring every control in line with the state. */
  show({ shows, layer, head, query, look }) {
    const { data, recording } = this.view;
    check(this.part("query"), isPatch(query) ? "" : query);
    check(this.part("shows"), shows);
    check(this.part("colormap"), look.colormap);
    check(this.part("resample"), look.resample);
    check(this.part("scale"), look.scale);
    check(this.part("mosaic-switch"), look.mosaic);
    check(this.part("heads"), head);
    this.view.root.classList.toggle("all-layers", look.mosaic && data.steps);
    this.part("heads").classList.toggle("nearest", look.resample === "nearest");
    for (const button of this.part("shows").querySelectorAll("[data-value=rollout]")) button.disabled = !recording.complete;
    this.steer(layer, head);
    this.part("grid").checked = look.grid;
    this.part("opacity").value = look.opacity;
    this.part("mass").value = look.mass ?? 1;
    this.part("opacity-value").textContent = `${Math.round(look.opacity * 100)} %`;
    this.part("mass-value").textContent = look.mass === null ? "all" : `top ${percent(look.mass)} of the attention`;
    this.artefacts(look);
    this.part("help").textContent = helpText(this.view.live, data.steps);
    this.part("note").textContent = this.view.trouble || data.note;
  }

  steer(layer, head) {
    const { data, recording, player } = this.view;
    const { depth } = data;
    this.part("layer").value = layer;
    this.part("layer-value").textContent = `${layer} (0 to ${depth - 1})`;
    this.part("layer").setAttribute("aria-valuetext", String(layer));
    this.part("head").value = this.heads.indexOf(head);
    this.part("head-value").textContent = typeof head === "number" ? `${head} (0 to ${data.heads - 1})` : `${head} of all ${data.heads}`;
    this.part("head").setAttribute("aria-valuetext", String(head));
    const play = this.part("play");
    play.disabled = !recording.complete || depth < 2;
    play.setAttribute("aria-pressed", String(player.running));
    play.textContent = player.running ? "Stop" : "Play";
    play.title = player.running ? "Stay at this layer" : "Run through the layers";
  }

  artefacts(look) {
    const count = this.view.recording.outlying?.reduce((sum, one) => sum + one, 0) ?? null;
    this.part("hide").checked = Boolean(count && look.hide_artefacts);
    this.part("hide").disabled = !count;
    const odd = count === 1 ? "1 odd patch" : `${count || ""} odd patches`.trim();
    const without = count === null ? ": not known" : count ? "" : ": none here";
    this.part("hide-label").textContent = `Hide ${odd} (artefacts)${without}`;
  }

  /** The map that is shown needs a moment. */
  wait() {
    this.part("readout").textContent = "One moment …";
  }

  /**
   * Readout, colour bar and alt text of what was just drawn.
   * @param {import("./view.js").Shown} shown
   * @param {[low: number, high: number]} limits
   */
  describe(shown, [low, high]) {
    const { view } = this;
    const { grid, heads } = view.data;
    const { weights } = shown;
    const index = peak(weights);
    /** @type {import("./attention.js").Patch} */
    const top = [Math.floor(index / grid[1]), index % grid[1]];
    const said = this.part("readout");
    said.textContent = readout(view, shown, top);
    said.classList.toggle("above", Boolean(view.hover && view.hover[0] >= 0.6 * grid[0])); // out of the mouse's way
    this.part("low").textContent = weightText(low);
    this.part("high").textContent = (weights[index] > high * 1.0001 ? "≥ " : "") + weightText(high);
    this.part("ramp").style.backgroundImage = gradient(view.luts[view.state.look.colormap]);
    const alt = altText(view, shown, top);
    view.picture.setAttribute("aria-label", alt);
    view.picture.textContent = alt;
    if (!view.hover) this.part("alt").textContent = alt;
    this.part("heads").setAttribute("aria-label", `The ${heads} heads of layer ${shown.layer}, and their mean, max and min`);
    this.part("mosaic").setAttribute("aria-label", `Every layer and head from ${queryName(shown.query)}; shown: layer ${view.state.layer}, ${headName(view.state.head)}`);
  }
}

/** A CSS gradient of a packed colour table. */
function gradient(lut) {
  const stops = Array.from({ length: 17 }, (_, i) => lut[Math.round((i * 255) / 16)]);
  return `linear-gradient(90deg, ${stops.map((c) => `rgb(${c & 255} ${(c >> 8) & 255} ${(c >> 16) & 255})`).join(", ")})`;
}

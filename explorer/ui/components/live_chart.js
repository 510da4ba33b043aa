// A Plotly figure that is updated in place: zoom, hidden lines and the element itself outlive every update.

const calls = new WeakMap(); // of each mounted chart: how often it was drawn
const held = new WeakSet(); // charts in which a zoom is being drawn: an update would break it off
const CLEAR = "rgba(0, 0, 0, 0)";
const CONFIG = {
  displaylogo: false,
  responsive: true,
  modeBarButtonsToRemove: ["select2d", "lasso2d"],
  showSendToCloud: false, // it would upload the chart
};

function library() {
  return new Promise((found) => {
    const look = () => (window.livePlotly ? found(window.livePlotly) : setTimeout(look, 50));
    look();
  });
}

function watch(chart) {
  if (chart.onpointerdown) return;
  chart.onpointerdown = () => {
    held.add(chart);
    const release = () => setTimeout(() => held.delete(chart), 300); // Plotly acts on the release first
    window.addEventListener("pointerup", release, { once: true });
    window.addEventListener("pointercancel", release, { once: true });
  };
}

async function released(chart) {
  while (held.has(chart)) await new Promise((later) => setTimeout(later, 50));
}

function themed(layout, element) {
  const style = getComputedStyle(element);
  const setting = (name) => style.getPropertyValue(`--st-${name}`).trim();
  const grid = setting("border-color");
  const axis = (own) => ({ gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, ...own });
  return {
    ...layout,
    paper_bgcolor: CLEAR,
    plot_bgcolor: CLEAR,
    font: { color: setting("text-color"), family: setting("font"), size: 13 },
    hoverlabel: { bgcolor: setting("secondary-background-color"), font: { color: setting("text-color") } },
    modebar: { bgcolor: CLEAR, color: setting("text-color"), activecolor: setting("primary-color") },
    xaxis: { ...axis(layout.xaxis), showgrid: false },
    yaxis: axis(layout.yaxis),
  };
}

export default function ({ data, parentElement }) {
  const chart = parentElement.querySelector(".live-chart");
  const call = (calls.get(chart) ?? 0) + 1;
  calls.set(chart, call);
  const figure = JSON.parse(data);
  watch(chart);
  Promise.all([library(), released(chart)]).then(([Plotly]) => {
    if (calls.get(chart) !== call) return; // a newer update has come meanwhile
    Plotly.react(chart, figure.data, themed(figure.layout, parentElement), CONFIG);
  });
  return endWhenGone(chart, () => {
    calls.delete(chart);
    window.livePlotly?.purge(chart);
  });
}

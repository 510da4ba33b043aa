// What the scripts of this folder find beside themselves when Python has joined them (see script() and canvas_script()).

declare const LiveView: typeof import("../../web/canvas/view.js").LiveView;
declare const fetchOnce: typeof import("./store.js").fetchOnce;

interface Window {
  /** Set by last_drawn.js: what LiveView's "drawn" event told last. */
  lastDrawn?: import("../../web/canvas/view.js").Shown;
  /** Set by live_canvas.js: the newest change where Python may not have heard of it. */
  unheard?: { key: string, state: import("../../web/canvas/view.js").State, seq: number };
  /** Plotly, once live_chart.py has sent it. */
  livePlotly?: any;
  /** Set by history.js, which a page may run more than once. */
  settingsReplaceAddress?: boolean;
  /** Set by phone.js, likewise. */
  sidebarCloses?: boolean;
}

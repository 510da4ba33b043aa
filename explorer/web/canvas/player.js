// Play: the picture runs through the layers by itself.

const A_LAYER = 500; // ms that each is shown

export class Player {
  /** @param {import("./view.js").LiveView} view */
  constructor(view) {
    this.view = view;
    this.timer = 0;
  }

  get running() {
    return this.timer !== 0;
  }

  toggle() {
    if (this.running) return this.stop();
    this.timer = setInterval(() => this.step(), A_LAYER);
    this.step();
  }

  step() {
    const { view } = this;
    if (!view.root.isConnected) return this.stop();
    view.touch();
    view.set({ layer: (view.state.layer + 1) % view.data.depth }, false);
  }

  /** Stay at the layer that is shown, and tell Python of it. */
  stop() {
    if (!this.running) return;
    clearInterval(this.timer);
    this.timer = 0;
    this.view.report();
    this.view.schedule();
  }
}

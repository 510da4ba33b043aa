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

  /** Begin, or stay at the layer that is shown and tell Python of it. */
  toggle() {
    if (this.running) {
      this.stop();
      this.view.report();
    } else {
      this.timer = setInterval(() => this.step(), A_LAYER);
      this.step();
    }
  }

  step() {
    const { view } = this;
    view.touch();
    view.set({ layer: (view.state.layer + 1) % view.data.depth }, false);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.view.schedule();
  }
}

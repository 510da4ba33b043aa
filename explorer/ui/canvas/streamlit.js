// The Streamlit side: one view a mounted component, kept over reruns.

import { LiveView } from "./view.js";

const views = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  let view = views.get(parentElement);
  if (!view || !parentElement.contains(view.root)) {
    view?.destroy();
    view = new LiveView(parentElement);
    views.set(parentElement, view);
  }
  view.onChange = (change) => setStateValue("view", change);
  if (data) view.update(data);
  // Streamlit also cleans up after a call that a newer one overtakes, at times before the newer one has begun: only what
  // has left the page is at its end.
  return () =>
    setTimeout(() => {
      if (!view.root.isConnected) view.destroy();
    });
}

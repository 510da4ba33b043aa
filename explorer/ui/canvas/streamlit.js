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
  // Streamlit may call the clean-up of a call that a newer one has overtaken: only the newest may end the view.
  const call = (view.calls = (view.calls ?? 0) + 1);
  view.onChange = (change) => setStateValue("view", change);
  if (data) view.update(data);
  return () => {
    if (view.calls !== call) return;
    view.destroy();
    views.delete(parentElement);
  };
}

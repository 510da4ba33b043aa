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
  return endWhenGone(view.root, () => {
    view.destroy();
    views.delete(parentElement);
  });
}

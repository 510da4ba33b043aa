// The Streamlit side: one view per mounted component, kept over reruns.

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

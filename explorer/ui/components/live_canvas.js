// The Streamlit side: one view per mounted component, kept over reruns.

const views = new WeakMap();

/** Where the server answers for a path such as /media/…: below the folder from which the app's own scripts came. */
function served(path) {
  const own = /** @type {HTMLScriptElement | null} */ (document.querySelector('script[type="module"][src*="static/js/"]'));
  return new URL(path.slice(1), own ? new URL("../../", own.src) : location.origin).href;
}

/** A change that Python may not have heard of, since the page was left at once: the next picture of that recording tells it. */
function keepUnheard({ data, recording, state, seq }) {
  if (data && recording.key && seq > data.seq) window.unheard = { key: recording.key, state, seq };
}

function tellUnheard(view) {
  const { unheard } = window;
  if (!unheard || unheard.key !== view.recording.key) return;
  window.unheard = undefined;
  if (unheard.seq > view.data.seq) view.set(unheard.state);
}

export default function ({ data, parentElement, setStateValue }) {
  let view = views.get(parentElement);
  if (!view || !parentElement.contains(view.root)) {
    view?.destroy();
    view = new LiveView(parentElement);
    view.fetchFile = (path) => fetchOnce(served(path));
    view.root.addEventListener("drawn", () => tellUnheard(view), { once: true });
    views.set(parentElement, view);
  }
  view.onChange = (change) => setStateValue("view", change);
  if (data) view.update(data);
  return endWhenGone(view.root, () => {
    keepUnheard(view);
    view.destroy();
    views.delete(parentElement);
  });
}

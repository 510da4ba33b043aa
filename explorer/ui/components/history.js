// Streamlit adds an entry to the browser's history for every change of st.query_params. Settings live in the session,
// which an older address doesn't bring back: Back would seem dead once for every click. So a change of settings
// replaces the address, and Back leads to the page before.
if (!window.settingsReplaceAddress) {
  window.settingsReplaceAddress = true;
  const push = history.pushState.bind(history);
  history.pushState = (state, title, url) => {
    const same = new URL(url ?? "", location.href).pathname === location.pathname;
    (same ? history.replaceState.bind(history) : push)(state, title, url);
  };
}

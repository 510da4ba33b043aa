// Streamlit adds an entry to the browser's history for every change of st.query_params. Settings live in the session,
// which an older address doesn't bring back: Back would seem dead once for every click. So a change of settings
// replaces the address. Entries added before this script ran stay, and are passed over: Back leads to the page before.
if (!window.settingsReplaceAddress) {
  window.settingsReplaceAddress = true;
  const page = (address) => new URL(address, location.href).pathname;

  const push = history.pushState.bind(history);
  history.pushState = (state, title, url) => {
    const same = page(url ?? "") === page(location.href);
    (same ? history.replaceState.bind(history) : push)(state, title, url);
  };

  const { navigation } = window; // older browsers don't have it
  navigation?.addEventListener("navigate", (event) => {
    const here = navigation.currentEntry;
    if (!here) return;
    const step = event.destination.index - here.index;
    if (event.navigationType !== "traverse" || !event.cancelable || Math.abs(step) !== 1) return;
    const entries = navigation.entries();
    let index = event.destination.index;
    while (entries[index] && page(entries[index].url) === page(here.url)) index += step;
    if (!entries[index] || index === event.destination.index) return;
    event.preventDefault(); // popstate would be too late: Streamlit hears it first and draws the same page again
    navigation.traverseTo(entries[index].key);
  });
}

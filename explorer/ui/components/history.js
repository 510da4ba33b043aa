// Streamlit adds an entry to the browser's history for every change of st.query_params. Settings live in the session,
// which an older address doesn't bring back: Back would seem dead once for every click. So a change of settings
// replaces the address. Entries added before this script ran stay, and are passed over: Back leads to the page before.
// On the way to another page Streamlit first empties the address of the page that is left. Its entry gets back what it
// had at the click that led away, so that Back and Forward restore the page as it was.
if (!window.settingsReplaceAddress) {
  window.settingsReplaceAddress = true;
  const page = (address) => new URL(address, location.href).pathname;

  let clickedAt = location.href;
  addEventListener("click", () => (clickedAt = location.href), true); // also for the Enter key on a link or a button

  const push = history.pushState.bind(history);
  const replace = history.replaceState.bind(history);
  history.pushState = (state, title, url) => {
    const here = page(location.href);
    if (page(url ?? "") === here) return replace(state, title, url);
    if (page(clickedAt) === here) replace(history.state, "", clickedAt);
    push(state, title, url);
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

/** A page around this one, a notebook's widget for instance, is told what is chosen, and may choose. */

/** @typedef {import("./state.js").Store} Store */

/** @param {Store} store */
export function talkToFrame(store) {
  if (window.parent === window) return;
  const tell = () => window.parent.postMessage({ astcapture: structuredClone(store.state) }, "*");
  store.on(null, tell);
  window.addEventListener("message", (event) => {
    const wanted = event.source === window.parent ? event.data?.astcapture : null;
    if (!wanted || typeof wanted !== "object") return;
    try {
      store.set(wanted);
    } catch (error) {
      console.warn(error instanceof Error ? error.message : String(error));
    }
  });
  tell();
}

import { byId } from "./canvas.js";
import { viewsOf } from "./stage.js";
/** @import { Controls } from "./controls.js" */
/** @import { Look } from "./look.js" */
/** @import { Stage } from "./stage.js" */
/** @import { State, Store } from "./state.js" */
/** @import { Steps } from "./steps.js" */

/**
 * Keys that work everywhere but in a field of text.
 * @param {Store} store
 * @param {Stage} stage
 * @param {Controls} controls
 * @param {Steps} steps
 * @param {() => Look|null} look
 */
export function listenToKeys(store, stage, controls, steps, look) {
  /** @param {number} by @returns {Partial<State>} */
  const head = (by) => {
    const item = look()?.scene.main.item;
    const now = typeof store.state.head === "number" ? store.state.head : by > 0 ? -1 : (item?.heads ?? 1);
    return { head: Math.max(0, Math.min((item?.heads ?? 1) - 1, now + by)), heads: [] };
  };
  /** @param {number} by */
  const view = (by) => {
    const names = viewsOf(look()?.scene ?? null).map(({ name }) => name);
    store.set({ view: names[(names.indexOf(store.state.view) + by + names.length) % names.length] });
  };
  /** @type {Record<string, () => void>} */
  const acts = {
    "[": () => store.set({ layer: store.state.layer - 1, heads: [] }),
    "]": () => store.set({ layer: store.state.layer + 1, heads: [] }),
    ",": () => store.set(head(-1)),
    ".": () => store.set(head(1)),
    "<": () => steps.go(-1),
    ">": () => steps.go(1),
    m: () => store.set({ head: store.state.head === "mean" ? "max" : store.state.head === "max" ? 0 : "mean", heads: [] }),
    v: () => view(1),
    V: () => view(-1),
    "/": () => byId("find").focus(),
    g: () => byId("grid").focus(),
    f: () => byId("stage").focus(),
    t: () => controls.nextTheme(),
    p: () => controls.pin(),
    d: () => store.set({ compare: store.state.compare === "difference" ? "off" : "difference" }),
    b: () => store.set(store.state.compare === "beside" ? { compare: "off" } : { compare: "beside", view: "map" }),
    x: () => byId("hide-key").click(),
    e: () => store.set({ small: !store.state.small }),
    s: () => store.set({ specials: !store.state.specials }),
    l: () => store.set({ side: store.state.side === "keys" ? "queries" : "keys" }),
    c: () => {
      const shown = look()?.scene.main.shown;
      const value = shown?.at(store.state.query, store.state.key);
      if (Array.isArray(store.state.range)) store.set({ range: "head" });
      else if (typeof value === "number") stage.rescale(value);
    },
    Escape: () => store.set({ brush: null, lock: "", hoverQuery: null, hoverKey: null }),
    "?": () => /** @type {HTMLDialogElement} */ (byId("help")).showModal(),
  };
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    const typing = target instanceof HTMLInputElement && target.type !== "range" && target.type !== "checkbox";
    if (typing || target instanceof HTMLSelectElement || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/** @type {HTMLDialogElement} */ (byId("help")).open) return;
    const act = acts[event.key];
    if (!act) return;
    act();
    event.preventDefault();
  });
}

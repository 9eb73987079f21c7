import { byId, make } from "./canvas.js";
import { visibleText } from "./pen.js";
/** @import { Look } from "./look.js" */
/** @import { Store } from "./state.js" */

const MOST_FOUND = 60;

/** Finds tokens by their letters or number. */
export class Search {
  /** @param {Store} store */
  constructor(store) {
    this.store = store;
    this.input = /** @type {HTMLInputElement} */ (byId("find"));
    /** @type {number[]} */
    this.queries = [];
    this.input.addEventListener("input", () => this.store.set({ find: this.input.value }));
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.go(event.shiftKey ? -1 : 1);
      else if (event.key === "Escape") {
        this.store.set({ find: "" });
        byId("stage").focus();
      } else return;
      event.preventDefault();
    });
  }

  /** @param {number} by */
  go(by) {
    // Letters and Enter can arrive within one frame: what is found is found by the letters that are there now.
    this.store.flush();
    const { queries } = this;
    if (!queries.length) return;
    const now = this.store.state.query;
    const next = by > 0 ? (queries.find((i) => i > now) ?? queries[0]) : (queries.findLast((i) => i < now) ?? queries[queries.length - 1]);
    this.store.set({ query: next, side: "keys" });
  }

  /** @param {Look} look */
  draw(look) {
    const { rowLabels, columnLabels } = look.scene.main;
    const { find } = look.state;
    if (this.input.value !== find) this.input.value = find;
    this.queries = rowLabels.search(find);
    const keys = columnLabels.search(find);
    const same = rowLabels === columnLabels;
    byId("find-note").textContent = find ? (same ? `${keys.length} found` : `${this.queries.length} queries, ${keys.length} keys`) : "";
    const list = byId("find-list");
    list.replaceChildren();
    list.hidden = !find;
    if (!find) return;
    const entries = this.queries.map((i) => ({ i, query: true })).concat(same ? [] : keys.map((i) => ({ i, query: false })));
    for (const { i, query } of entries.slice(0, MOST_FOUND)) {
      const labels = query ? rowLabels : columnLabels;
      const button = make("button", "chip", `${same ? "" : query ? "query " : "key "}${i} ${visibleText(labels.short(i))}`);
      button.setAttribute("aria-current", String(query ? i === look.state.query : i === look.state.key));
      button.addEventListener("click", () => this.store.set(query ? { query: i, side: "keys" } : { key: i, side: "queries" }));
      list.append(button);
    }
    if (entries.length > MOST_FOUND) list.append(make("span", "dim", `and ${entries.length - MOST_FOUND} more`));
  }
}

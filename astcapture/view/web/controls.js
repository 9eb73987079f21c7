import { byId, make } from "./canvas.js";
import { shortNumber } from "./numbers.js";
import { visibleText } from "./pen.js";
import { otherRun } from "./settle.js";
import { shownView, viewsOf } from "./stage.js";
import { headsOf, statisticMeaning, statisticName, statisticsOf } from "./statistics.js";
import { termsOf } from "./terms.js";
/** @import { Book } from "./book.js" */
/** @import { Look } from "./look.js" */
/** @import { State, Store } from "./state.js" */

/**
 * @param {string} id
 * @param {[string, string][]} options value and text
 * @param {string} chosen
 */
function fill(id, options, chosen) {
  const select = /** @type {HTMLSelectElement} */ (byId(id));
  const now = options.map((option) => option.join("\u0000")).join("\u0001");
  if (select.dataset.options !== now) {
    select.dataset.options = now;
    select.replaceChildren(
      ...options.map(([value, text]) => {
        const option = make("option", "", text);
        option.value = value;
        return option;
      }),
    );
  }
  select.value = chosen;
  const place = select.closest("label");
  if (place) place.hidden = options.length < 2;
}

/** Menus, sliders and boxes: they set the state, and show it. */
export class Controls {
  /**
   * @param {Book} book
   * @param {Store} store
   */
  constructor(book, store) {
    this.book = book;
    this.store = store;
    this.select("series", (value) => ({ series: Number(value), heads: [], zoom: null, brush: null, hide: [], range: "head" }));
    this.select("layer", (value) => ({ layer: Number(value), heads: [] }));
    this.select("head", (value) => ({ head: value === "mean" || value === "max" ? value : Number(value), heads: [] }));
    this.select("batch", (value) => ({ batch: Number(value) }));
    this.select("sort", (value) => ({ sort: value }));
    this.select("grid-shows", (value) => ({ grid: /** @type {State["grid"]} */ (value) }));
    this.select("x", (value) => ({ x: value }));
    this.select("y", (value) => ({ y: value }));
    this.select("compare", (value) => (value === "beside" ? { compare: value, view: "map" } : { compare: /** @type {State["compare"]} */ (value) }));
    this.select("range", (value) => ({ range: value === "all" ? "all" : "head" }));
    this.slider("threshold", (value) => ({ threshold: value / 100 }));
    this.slider("contour", (value) => ({ contour: value / 100 }));
    this.box("specials", (specials) => ({ specials }));
    this.box("small", (small) => ({ small }));
    this.box("rescale", (rescale) => ({ rescale }));
    byId("theme").addEventListener("click", () => this.nextTheme());
    byId("show-all").addEventListener("click", () => this.store.set({ hide: [], specials: false, threshold: 1 }));
    byId("pin").addEventListener("click", () => this.pin());
    byId("unbrush").addEventListener("click", () => this.store.set({ brush: null }));
    byId("fit").addEventListener("click", () => this.store.set({ zoom: null }));
  }

  /** @param {string} id @param {(value: string) => Partial<State>} change */
  select(id, change) {
    const select = /** @type {HTMLSelectElement} */ (byId(id));
    select.addEventListener("change", () => this.store.set(change(select.value)));
  }

  /** @param {string} id @param {(value: number) => Partial<State>} change */
  slider(id, change) {
    const input = /** @type {HTMLInputElement} */ (byId(id));
    input.addEventListener("input", () => this.store.set(change(Number(input.value))));
  }

  /** @param {string} id @param {(on: boolean) => Partial<State>} change */
  box(id, change) {
    const input = /** @type {HTMLInputElement} */ (byId(id));
    input.addEventListener("change", () => this.store.set(change(input.checked)));
  }

  nextTheme() {
    const { theme } = this.store.state;
    const dark = theme === "dark" || (theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
    this.store.set({ theme: dark ? "light" : "dark" });
  }

  /** Keep the head that is seen, to compare others with it. */
  pin() {
    const { state } = this.store;
    if (state.pin) this.store.set({ pin: null, compare: "off" });
    else {
      const head = state.head === "mean" ? -1 : state.head === "max" ? -2 : state.head;
      this.store.set({ pin: [state.series, state.layer, head, state.call, state.batch], compare: "beside", view: "map" });
    }
  }

  /** @param {Look} look */
  draw(look) {
    const { state, scene } = look;
    const { meta } = this.book;
    const { series, item, columnLabels } = scene.main;
    const runs = new Set(meta.series.map((one) => one.run)).size > 1;
    const models = new Set(meta.series.map((one) => one.model)).size > 1;
    fill(
      "series",
      meta.series.map((one, i) => {
        const parts = [one.name, one.label];
        if (models && one.model) parts.unshift(one.model);
        if (runs) parts.push(`run ${one.run + 1}`);
        return [String(i), parts.join(" · ")];
      }),
      String(state.series),
    );
    const wide = Math.max(1, String(series.layers.length - 1).length);
    fill(
      "layer",
      series.layers.map((name, i) => [String(i), `${String(i).padStart(wide, "\u2007")}  ${visibleText(name)}`]),
      String(state.layer),
    );
    byId("layer-name").textContent = visibleText(series.layers[item.layer]);
    const channels = series.kind === "channels";
    const what = channels ? "channel" : "head";
    const terms = termsOf(scene.main);
    byId("hint-one").textContent = terms.one;
    byId("hint-rows").textContent = terms.row === "query" ? "Its rows are queries, the tokens that attend; its columns are keys, what they attend to. Brighter means more weight." : scene.main.signed ? "Blue is negative, orange positive." : "Brighter means more.";
    byId("overview-title").textContent = channels ? "All layers and channels" : "All layers and heads";
    byId("cell-row-word").textContent = terms.row;
    byId("cell-column-word").textContent = terms.column;
    byId("side-keys").textContent = terms.row === "query" ? "attends to" : `of the ${terms.row}`;
    byId("side-queries").textContent = terms.row === "query" ? "attended by" : `of the ${terms.column}`;
    byId("sides").hidden = !terms.isMap;
    byId("hide-key").hidden = terms.row !== "query";
    byId("threshold-box").hidden = series.kind === "strip" || channels;
    byId("head-word").textContent = channels ? "Channel" : "Head";
    /** @type {[string, string][]} */
    const heads = Array.from({ length: item.heads }, (_, i) => [String(i), `${what} ${i}`]);
    if (item.heads > 1) heads.push(["mean", `mean over ${what}s`], ["max", `maximum over ${what}s`]);
    fill("head", heads, String(state.head));
    const batches = [...new Set(series.items.filter((one) => one.layer === state.layer).map((one) => one.batch))].sort((a, b) => a - b);
    fill(
      "batch",
      batches.map((batch) => [String(batch), `example ${batch}`]),
      String(state.batch),
    );
    const names = statisticsOf(headsOf(this.book, state));
    fill("sort", [["order", "layer, head"], .../** @type {[string, string][]} */ (names.map((name) => [name, statisticName(name)]))], state.sort);
    byId("sort-meaning").textContent = statisticMeaning(state.sort);
    for (const id of /** @type {const} */ (["x", "y"])) {
      const chosen = names.includes(state[id]) ? state[id] : (id === "x" ? names[0] : names.at(-1)) ?? "";
      fill(id, names.map((name) => [name, statisticName(name)]), chosen);
    }
    fill(
      "grid-shows",
      [
        ["maps", "maps"],
        ["row", "query's row"],
        ["cell", "cell's value"],
      ],
      state.grid,
    );
    this.views(look);

    const other = state.pin !== null || otherRun(this.book, series) !== null;
    const against = state.pin ? "the pinned map" : "the second run";
    fill(
      "compare",
      other
        ? [
            ["off", "one map"],
            ["beside", `beside ${against}`],
            ["difference", `minus ${against}`],
          ]
        : [["off", "one map"]],
      state.compare,
    );
    byId("pin").setAttribute("aria-pressed", String(state.pin !== null));
    byId("pin").textContent = state.pin ? "Unpin (p)" : "Pin to compare (p)";
    fill(
      "range",
      [
        ["head", "this map's values"],
        ["all", "all maps' values"],
        .../** @type {[string, string][]} */ (Array.isArray(state.range) ? [["own", `${shortNumber(state.range[0])} to ${shortNumber(state.range[1])}`]] : []),
      ],
      Array.isArray(state.range) ? "own" : state.range,
    );
    /** @type {HTMLInputElement} */ (byId("threshold")).value = String(Math.round(state.threshold * 100));
    byId("threshold-text").textContent = state.threshold < 1 ? `${Math.round(state.threshold * 100)} %` : "all";
    /** @type {HTMLInputElement} */ (byId("contour")).value = String(Math.round(state.contour * 100));
    byId("contour-text").textContent = state.contour ? `${Math.round(state.contour * 100)} %` : "off";
    byId("contour-box").hidden = shownView(state, scene) !== "image" || channels;
    const specials = Array.from({ length: columnLabels.n }, (_, i) => i).some((i) => columnLabels.special(i));
    byId("specials-box").hidden = !specials;
    /** @type {HTMLInputElement} */ (byId("specials")).checked = state.specials;
    byId("rescale-box").hidden = !scene.hiddenKeys.size || series.kind !== "attention";
    /** @type {HTMLInputElement} */ (byId("rescale")).checked = state.rescale;
    /** @type {HTMLInputElement} */ (byId("small")).checked = state.small;
    byId("fit").hidden = !state.zoom || shownView(state, scene) !== "map";
    this.banner(look);
  }

  /** @param {Look} look */
  views({ state, scene }) {
    const tabs = byId("views");
    const views = viewsOf(scene);
    const chosen = shownView(state, scene);
    const names = views.map(({ name, title }) => name + title).join();
    if (tabs.dataset.names !== names) {
      tabs.dataset.names = names;
      tabs.replaceChildren(
        ...views.map(({ name, title }) => {
          const button = make("button", "", title);
          button.dataset.view = name;
          button.addEventListener("click", () => this.store.set({ view: name }));
          return button;
        }),
      );
    }
    for (const button of tabs.children) button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.view === chosen));
  }

  /**
   * What is not as it was captured is said where nobody can miss it.
   * @param {Look} look
   */
  banner({ state, scene }) {
    const { columnLabels, series, shown } = scene.main;
    const parts = [];
    const hidden = [...scene.hiddenKeys];
    if (hidden.length) {
      const names = hidden.slice(0, 6).map((i) => visibleText(columnLabels.long(i)));
      const more = hidden.length > 6 ? ` and ${hidden.length - 6} more` : "";
      const scaled = series.kind !== "attention" ? "" : state.rescale ? " Each row is renormalised to its former sum." : " The other weights are unchanged, so rows sum to less.";
      parts.push(`Hidden: ${names.join(", ")}${more}.${scaled}`);
    }
    if (state.threshold < 1) parts.push(`Showing only the largest weights of each row, up to ${Math.round(state.threshold * 100)} % of its sum.`);
    if (scene.isDifference) parts.push(`A difference: ${scene.main.title}. Orange: more here; blue: less.`);
    if (state.compare !== "off" && scene.against === "") parts.push("The second run has no such layer, call or example.");
    if (scene.cut) parts.push("The two have different sizes: only the common part is compared.");
    if (typeof state.head !== "number" && shown.marks && scene.main.stored.overview) {
      parts.push("Weights that the file leaves out count as zero here: each value is a lower bound.");
    }
    byId("banner").hidden = parts.length === 0;
    byId("banner-text").textContent = parts.join(" ");
    byId("show-all").hidden = !hidden.length && state.threshold >= 1;
  }
}

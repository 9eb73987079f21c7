import { readAddress, writeAddress } from "./address.js";
import { Book } from "./book.js";
import { byId, make } from "./canvas.js";
import { themeColours } from "./colours.js";
import { checkChanges } from "./check.js";
import { Controls } from "./controls.js";
import { Details, spokenCell } from "./details.js";
import { save } from "./export.js";
import { Finder } from "./finder.js";
import { Grid } from "./grid.js";
import { talkToFrame } from "./frame.js";
import { listenToKeys } from "./keys.js";
import { Rows } from "./rows.js";
import { SceneMaker } from "./scene.js";
import { Search } from "./search.js";
import { settleState } from "./settle.js";
import { Stage } from "./stage.js";
import { FIRST_STATE, Store } from "./state.js";
import { headsOf } from "./statistics.js";
import { Steps } from "./steps.js";
import { termsOf } from "./terms.js";
/** @import { Look } from "./look.js" */
/** @import { State } from "./state.js" */
/** @import { Meta } from "./types.js" */

/**
 * Who draws when what changes. The scene is made anew from the state each time; what is costly in it is remembered.
 * @param {Meta} meta
 * @returns {Promise<void>} done when the first picture stands
 */
export async function openPage(meta) {
  const book = new Book(meta, (block) => document.getElementById(`block-${block}`)?.textContent ?? "");
  byId("title").textContent = meta.title;
  byId("title").title = meta.title;
  byId("made").textContent = meta.made;
  byId("notes").replaceChildren(...meta.notes.map((note) => make("li", "", note)));
  byId("notes-box").hidden = meta.notes.length === 0;
  const empty = !meta.series.some((series) => series.items.length);
  byId("empty").hidden = !empty;
  byId("main").hidden = empty;
  if (empty) return;

  const store = new Store((state) => settleState(state, book));
  store.set(readAddress());
  store.flush();
  const maker = new SceneMaker(book);
  const darkGround = matchMedia("(prefers-color-scheme: dark)");
  let colours = themeColours(false);
  /** @type {Look|null} */
  let look = null;

  const images = meta.images.map((picture) => {
    const image = new Image();
    image.src = picture.src;
    image.addEventListener("load", () => stage.draw());
    return image;
  });

  function paintTheme() {
    const { theme } = store.state;
    const dark = theme === "dark" || (theme === "auto" && darkGround.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    byId("theme").textContent = dark ? "Light" : "Dark";
    colours = themeColours(dark);
  }

  function makeLook() {
    const { state } = store;
    const scene = maker.scene(state, colours);
    if (!scene) return;
    const { rowLabels, columnLabels } = scene.main;
    look = {
      state,
      scene,
      colours,
      density: 1,
      foundQueries: new Set(rowLabels.search(state.find)),
      foundKeys: new Set(columnLabels.search(state.find)),
      pictures: meta.images,
      images,
      field: (item, head) => maker.changed(state, meta.series[state.series], item, head),
    };
  }

  const rows = new Rows(book, () => grid.draw(colours));
  const stage = new Stage(store, () => look);
  const grid = new Grid(book, store, rows);
  const finder = new Finder(book, store);
  const steps = new Steps(book, store);
  const details = new Details(store, (value) => stage.rescale(value));
  const search = new Search(store);
  const controls = new Controls(book, store);
  listenToKeys(store, stage, controls, steps, () => {
    // A key acts on what was chosen last, drawn or not.
    store.flush();
    return look;
  });

  function about() {
    if (!look) return;
    const { item, series } = look.scene.main;
    const odd = item.odd ?? {};
    const { row, column } = termsOf(look.scene.main);
    /** @param {number} n @param {string} word @returns {string} */
    const count = (n, word) => `${n.toLocaleString("en")} ${n === 1 ? word : word === "query" ? "queries" : `${word}s`}`;
    const parts = [`${count(item.rows, row)} × ${count(item.columns, column)}`, series.module ? `module ${series.module}` : ""];
    if (item.given) parts.push(`${count(item.given, "token")} given, ${(item.columns - item.given).toLocaleString("en")} generated`);
    if (item.file) parts.push(`${item.file}${item.lineno ? `:${item.lineno}` : ""}`);
    for (const [name, value] of Object.entries(item.tags ?? {})) parts.push(`${name} = ${typeof value === "string" ? value : JSON.stringify(value)}`);
    const words = {
      nan: ["NaN", "NaN"],
      inf: ["infinite value", "infinite values"],
      negative: ["negative weight", "negative weights"],
      off_sum: ["row that does not sum to one", "rows that do not sum to one"],
    };
    for (const [name, [one, several]] of Object.entries(words)) {
      const found = odd[/** @type {keyof typeof odd} */ (name)];
      if (found) parts.push(`${found.toLocaleString("en")} ${found === 1 ? one : several}`);
    }
    byId("about").textContent = parts.filter(Boolean).join(" · ");
  }

  const light = new Set(["hoverQuery", "hoverKey", "zoom"]);
  let spoken = "";
  let spokenTimer = 0;
  let addressTimer = 0;
  /** @param {Set<string>|null} changed null: draw all */
  function drawAll(changed) {
    if (!changed || changed.has("theme")) paintTheme();
    const only = changed !== null && [...changed].every((name) => light.has(name));
    if (!only || !look) makeLook();
    if (!look) return;
    if (!only) {
      controls.draw(look);
      search.draw(look);
      finder.draw(colours);
      steps.draw(colours);
      about();
    }
    stage.draw();
    const pointed = !changed || !only || changed.has("hoverQuery") || changed.has("hoverKey");
    if (pointed) {
      // Sizes are read before anything is written: a browser lays the page out anew between the two.
      grid.draw(colours);
      byId("readout").textContent = spokenCell(look).replace("minus ", "−");
      details.draw(look);
    }
    if (changed && !only) rows.fetch(store.state.grid === "maps" && !store.state.lock ? [] : headsOf(book, store.state), store.state.query);
    // Browsers refuse an address that changes a hundred times in some seconds.
    clearTimeout(addressTimer);
    addressTimer = window.setTimeout(() => writeAddress(store.state), 150);
    // A screen reader is told where the keys lead, and not each place that the pointer passes.
    const text = store.state.hoverQuery === null && store.state.hoverKey === null ? spokenCell(look) : spoken;
    if (changed && text !== spoken) {
      clearTimeout(spokenTimer);
      spokenTimer = window.setTimeout(() => {
        byId("live").textContent = text;
      }, 60);
    }
    spoken = text;
    const { main } = look.scene;
    stage.canvas.setAttribute("aria-label", `${main.title}: ${main.shown.rows} queries by ${main.shown.columns} keys. ${text}. Arrow keys move.`);
  }
  store.on(null, (changed) => drawAll(changed));
  darkGround.addEventListener("change", () => drawAll(null));
  window.addEventListener("hashchange", () => store.set({ .../** @type {State} */ (structuredClone(FIRST_STATE)), ...readAddress() }));
  if (typeof ResizeObserver !== "undefined") {
    let first = true;
    new ResizeObserver(() => {
      if (first) first = false;
      else requestAnimationFrame(() => drawAll(null));
    }).observe(byId("stage-box"));
  }
  for (const kind of /** @type {const} */ (["png", "svg", "csv"])) {
    byId(`save-${kind}`).addEventListener("click", () => look && save(kind, stage, look));
  }
  const help = /** @type {HTMLDialogElement} */ (byId("help"));
  byId("skip").addEventListener("click", () => stage.canvas.focus());
  byId("open-help").addEventListener("click", () => help.showModal());
  byId("close-help").addEventListener("click", () => help.close());

  drawAll(null);
  talkToFrame(store);

  Object.assign(page, {
    state: store.state,
    layers: meta.series[store.state.series].layers,
    /** @param {Partial<State>} changes */
    set(changes) {
      checkChanges(changes, store.state, book);
      store.set(changes);
      store.flush();
    },
    /** @param {number|string} layer @param {number} head @param {number} query @param {number} key @returns {number|null} */
    value(layer, head, query, key) {
      const { state } = store;
      const series = meta.series[state.series];
      const at = typeof layer === "string" ? series.layers.indexOf(layer) : layer;
      const item = book.item(series, at, state.call, state.batch);
      if (!item || !item.maps[head]) throw new RangeError(`no layer ${layer} with a head ${head} in call ${state.call}, example ${state.batch}`);
      if (!(query >= 0 && query < item.rows && key >= 0 && key < item.columns)) {
        throw new RangeError(`no cell ${query}, ${key}: there are ${item.rows} queries and ${item.columns} keys`);
      }
      return book.field(item, head).at(query, key);
    },
  });
  Object.defineProperty(page, "layers", { get: () => meta.series[store.state.series].layers, enumerable: true });
  await Promise.all(images.map((image) => image.decode().catch(() => null)));
  stage.draw();
  await new Promise((done) => setTimeout(done));
}

/** @type {{state: Readonly<State>|null, set: (changes: Partial<State>) => void, value: (layer: number|string, head: number, query: number, key: number) => number|null, layers: string[], ready: Promise<void>}} */
const page = {
  state: null,
  set() {},
  value: () => null,
  layers: [],
  ready: Promise.resolve(),
};

/** @returns {Promise<void>} */
async function whenParsed() {
  if (document.readyState === "loading") await new Promise((done) => document.addEventListener("DOMContentLoaded", done, { once: true }));
  const meta = /** @type {Meta} */ (JSON.parse(byId("astcapture-data").textContent ?? "{}"));
  await openPage(meta);
}

page.ready = whenParsed().catch((error) => {
  byId("broken").hidden = false;
  byId("broken-text").textContent = error instanceof Error ? error.message : String(error);
  throw error;
});
Object.assign(window, { astcapture: page });

/**
 * Everything that a reader has chosen. One plain object; `Store.set` is the only way to change it.
 *
 * @typedef {object} State
 * @property {number} series
 * @property {number} layer
 * @property {number|"mean"|"max"} head
 * @property {number[]} heads heads that are drawn together as lines; empty: the one head
 * @property {number} query
 * @property {number} key
 * @property {""|"query"|"key"} lock what is held fast: a click and the arrow keys hold, Escape lets everything be seen
 * @property {number} call
 * @property {number} batch
 * @property {string} view "map", "lines", "text" or "image"
 * @property {"off"|"beside"|"difference"} compare
 * @property {number[]|null} pin what is compared with, [series, layer, head, call, batch]; null: the second run
 * @property {string} sort "order" or a statistic
 * @property {string} x statistic of the finder's horizontal axis
 * @property {string} y statistic of the finder's vertical axis
 * @property {"maps"|"row"|"cell"} grid what the overview of all heads shows
 * @property {number} threshold share of each row's mass that is shown, 0 to 1
 * @property {number[]} hide keys that are hidden
 * @property {boolean} specials whether special tokens are hidden
 * @property {boolean} rescale whether rows are scaled up again where keys are hidden
 * @property {"head"|"all"|[number, number]} range of the colours
 * @property {boolean} small whether small values get more of the colours
 * @property {number} contour outline the patches that hold this share of the mass; 0: none
 * @property {[number, number, number]|null} zoom query and key in the middle, and the factor; null: all
 * @property {[number, number, number, number]|null} brush first and last query, first and last key
 * @property {string} find
 * @property {"keys"|"queries"} side which list is shown: what the query looks at, or what looks at the key
 * @property {"auto"|"light"|"dark"} theme
 * @property {number|null} hoverQuery
 * @property {number|null} hoverKey
 */

/** @type {Readonly<State>} */
export const FIRST_STATE = Object.freeze({
  series: 0,
  layer: 0,
  head: 0,
  heads: [],
  query: 0,
  key: 0,
  lock: "",
  call: 0,
  batch: 0,
  view: "map",
  compare: "off",
  pin: null,
  sort: "order",
  x: "distance",
  y: "entropy",
  grid: "maps",
  threshold: 1,
  hide: [],
  specials: false,
  rescale: true,
  range: "head",
  small: false,
  contour: 0,
  zoom: null,
  brush: null,
  find: "",
  side: "keys",
  theme: "auto",
  hoverQuery: null,
  hoverKey: null,
});

/** @typedef {keyof State} StateName */

/** @type {Readonly<Partial<Record<StateName, readonly string[]>>>} */
export const CHOICES = Object.freeze({
  view: ["map", "lines", "text", "image"],
  compare: ["off", "beside", "difference"],
  grid: ["maps", "row", "cell"],
  lock: ["", "query", "key"],
  side: ["keys", "queries"],
  theme: ["auto", "light", "dark"],
});

/** Holds the state and tells those who draw which names changed, once for each frame. */
export class Store {
  /** @param {(state: State) => void} settle makes a state fit the file, in place */
  constructor(settle) {
    this.settle = settle;
    /** @type {State} */
    this.state = structuredClone(FIRST_STATE);
    settle(this.state);
    /** @type {{names: Set<string>|null, act: (changed: Set<string>) => void}[]} */
    this.listeners = [];
    /** @type {Set<string>} */
    this.changed = new Set();
    this.waiting = false;
  }

  /** @param {Partial<State>} changes */
  set(changes) {
    for (const name of Object.keys(changes)) {
      if (!(name in FIRST_STATE)) throw new TypeError(`no state is named ${name}; there are ${Object.keys(FIRST_STATE).join(", ")}`);
    }
    const before = { ...this.state };
    if (!("lock" in changes) && ("query" in changes || "key" in changes)) this.state.lock = "query" in changes ? "query" : "key";
    Object.assign(this.state, changes);
    this.settle(this.state);
    for (const name of /** @type {StateName[]} */ (Object.keys(before))) {
      if (JSON.stringify(before[name]) !== JSON.stringify(this.state[name])) this.changed.add(name);
    }
    if (this.changed.size && !this.waiting) {
      this.waiting = true;
      // A page in the background is given no frames, and is to follow all the same.
      if (document.hidden) setTimeout(() => this.flush());
      else requestAnimationFrame(() => this.flush());
    }
  }

  /** Let everybody draw what has changed. */
  flush() {
    this.waiting = false;
    const changed = this.changed;
    this.changed = new Set();
    if (!changed.size) return;
    for (const { names, act } of this.listeners) {
      if (!names || [...names].some((name) => changed.has(name))) act(changed);
    }
  }

  /**
   * @param {StateName[]|null} names null: any
   * @param {(changed: Set<string>) => void} act
   */
  on(names, act) {
    this.listeners.push({ names: names && new Set(names), act });
  }
}

import { Labels } from "./axes.js";
import { combine, difference, hideTokens, keepShare } from "./change.js";
import { ColourScale, SEQUENTIAL } from "./colours.js";
import { Pyramid } from "./pyramid.js";
import { nearestItem, otherRun } from "./settle.js";
/** @import { Book } from "./book.js" */
/** @import { Colours } from "./colours.js" */
/** @import { Field } from "./field.js" */
/** @import { State } from "./state.js" */
/** @import { Item, Series } from "./types.js" */

/** How many cells of computed maps are kept. */
const MOST_CELLS_KEPT = 40e6;

/**
 * One head, or what several make together, ready to be drawn.
 * @typedef {object} Sheet
 * @property {Series} series
 * @property {Item} item
 * @property {string} title
 * @property {Field} stored as it is in the file
 * @property {Field} shown after hiding and thresholds
 * @property {Pyramid} pyramid of what is shown
 * @property {ColourScale} scale
 * @property {boolean} signed
 * @property {Labels} rowLabels
 * @property {Labels} columnLabels
 *
 * @typedef {object} Scene
 * @property {Sheet} main what the reader looks at: the head, or its difference to the other
 * @property {Sheet|null} other beside it
 * @property {string|null} against what it is compared with
 * @property {boolean} isDifference
 * @property {boolean} cut whether a comparison has left rows or columns out
 * @property {ReadonlySet<number>} hiddenKeys
 */

/**
 * @param {number|"mean"|"max"} head
 * @param {Series} [series]
 * @returns {string}
 */
export function headName(head, series) {
  const what = series?.kind === "channels" ? "channel" : "head";
  return typeof head === "number" ? `${what} ${head}` : `${head === "max" ? "maximum" : "mean"} over ${what}s`;
}

/** Makes scenes, and remembers what took long. */
export class SceneMaker {
  /** @param {Book} book */
  constructor(book) {
    this.book = book;
    /** @type {Map<string, Field>} */
    this.fields = new Map();
    /** @type {Map<string, Labels>} */
    this.labelCache = new Map();
    /** @type {WeakMap<Field, Pyramid>} */
    this.pyramids = new WeakMap();
  }

  /**
   * @param {string} name
   * @param {() => Field} make
   * @returns {Field}
   */
  remembered(name, make) {
    let field = this.fields.get(name);
    if (!field) {
      field = make();
      this.fields.set(name, field);
      let cells = 0;
      for (const [one, other] of [...this.fields].reverse()) {
        cells += other.rows * other.columns;
        if (cells > MOST_CELLS_KEPT && other !== field) this.fields.delete(one);
      }
    }
    return field;
  }

  /**
   * @param {number} axis
   * @param {number} n
   * @returns {Labels}
   */
  labels(axis, n) {
    const name = `${axis}/${n}`;
    let labels = this.labelCache.get(name);
    if (!labels) {
      labels = new Labels(this.book.meta, axis, n);
      this.labelCache.set(name, labels);
    }
    return labels;
  }

  /**
   * @param {Series} series
   * @param {Item} item
   * @param {number|"mean"|"max"} head
   * @returns {Field}
   */
  stored(series, item, head) {
    if (typeof head === "number") return this.book.field(item, Math.min(head, item.heads - 1));
    const name = `${this.book.meta.series.indexOf(series)}/${item.layer}/${item.call}/${item.batch}/${head}`;
    return this.remembered(name, () =>
      combine(
        item.maps.map((_, i) => this.book.field(item, i)),
        head,
      ),
    );
  }

  /**
   * @param {State} state
   * @param {Item} item
   * @returns {Set<number>}
   */
  hiddenKeys(state, item) {
    const labels = this.labels(item.column_axis, item.columns);
    const hidden = new Set(state.hide);
    if (state.specials) {
      for (let i = 0; i < labels.n; i++) if (labels.special(i)) hidden.add(i);
    }
    return hidden;
  }

  /**
   * @param {State} state
   * @param {Series} series
   * @param {Item} item
   * @param {number|"mean"|"max"} head
   * @returns {Field}
   */
  changed(state, series, item, head) {
    const stored = this.stored(series, item, head);
    const keys = this.hiddenKeys(state, item);
    const rescale = state.rescale && series.kind === "attention";
    if (!keys.size && state.threshold >= 1) return stored;
    const place = `${this.book.meta.series.indexOf(series)}/${item.layer}/${item.call}/${item.batch}/${head}`;
    const name = `${place}/${[...keys].join()}/${rescale}/${state.threshold}`;
    return this.remembered(name, () => {
      const queries = item.row_axis === item.column_axis && state.specials ? keys : new Set();
      const field = keys.size ? hideTokens(stored, keys, /** @type {Set<number>} */ (queries), rescale) : stored;
      return state.threshold < 1 ? keepShare(field, state.threshold) : field;
    });
  }

  /**
   * @param {Field} field
   * @param {boolean} signed
   * @returns {Pyramid}
   */
  pyramid(field, signed) {
    let pyramid = this.pyramids.get(field);
    if (!pyramid) {
      pyramid = new Pyramid(field, signed);
      this.pyramids.set(field, pyramid);
    }
    return pyramid;
  }

  /**
   * @param {State} state
   * @param {Series} series
   * @param {Field} field
   * @param {boolean} signed
   * @param {Colours} colours
   * @returns {ColourScale}
   */
  scale(state, series, field, signed, colours) {
    let [low, high] = Array.isArray(state.range) ? state.range : state.range === "all" ? series.scale : field.extent();
    if (signed) {
      if (!Array.isArray(state.range)) {
        high = Math.max(Math.abs(low), Math.abs(high));
        low = -high;
      }
      return new ColourScale(low, high, colours.diverging, state.small);
    }
    if (series.kind === "attention" && !Array.isArray(state.range)) low = 0;
    return new ColourScale(low, high, SEQUENTIAL, state.small);
  }

  /**
   * @param {State} state
   * @returns {{series: Series, item: Item, head: number|"mean"|"max"}|null} what is compared with
   */
  comparedWith(state) {
    const { meta } = this.book;
    if (state.pin) {
      const [at, layer, head, call, batch] = state.pin;
      const series = meta.series[at];
      const item = series && this.book.item(series, layer, call, batch);
      return item ? { series, item, head: head === -1 ? "mean" : head === -2 ? "max" : Math.min(head, item.heads - 1) } : null;
    }
    const series = meta.series[state.series];
    const other = otherRun(this.book, series);
    if (!other) return null;
    const layer = other.layers.indexOf(series.layers[state.layer]);
    const item = this.book.item(other, layer >= 0 ? layer : state.layer, state.call, state.batch);
    return item ? { series: other, item, head: typeof state.head === "number" ? Math.min(state.head, item.heads - 1) : state.head } : null;
  }

  /**
   * @param {State} state
   * @param {Series} series
   * @param {Item} item
   * @param {number|"mean"|"max"} head
   * @param {Colours} colours
   * @returns {Sheet}
   */
  sheet(state, series, item, head, colours) {
    const shown = this.changed(state, series, item, head);
    const run = this.book.meta.series.some((one) => one.run !== series.run) ? `run ${series.run + 1}, ` : "";
    return {
      series,
      item,
      title: `${run}${series.layers[item.layer]}, ${headName(head, series)}`,
      stored: this.stored(series, item, head),
      shown,
      pyramid: this.pyramid(shown, series.signed),
      scale: this.scale(state, series, shown, series.signed, colours),
      signed: series.signed,
      rowLabels: this.labels(item.row_axis, item.rows),
      columnLabels: this.labels(item.column_axis, item.columns),
    };
  }

  /**
   * @param {State} state
   * @param {Colours} colours
   * @returns {Scene|null}
   */
  scene(state, colours) {
    const series = this.book.meta.series[state.series];
    const item = series && nearestItem(this.book, series, state.layer, state.call, state.batch);
    if (!item) return null;
    const main = this.sheet(state, series, item, state.head, colours);
    const hiddenKeys = this.hiddenKeys(state, item);
    const plain = { main, other: null, against: null, isDifference: false, cut: false, hiddenKeys };
    if (state.compare === "off") return plain;
    const second = this.comparedWith(state);
    if (!second) return { ...plain, against: "" };
    const other = this.sheet(state, second.series, second.item, second.head, colours);
    const cut = other.shown.rows !== main.shown.rows || other.shown.columns !== main.shown.columns;
    if (state.compare === "beside") {
      // Side by side is compared by eye, for which one scale has to serve both.
      if (!Array.isArray(state.range) && main.signed === other.signed) {
        const low = Math.min(main.scale.low, other.scale.low);
        const high = Math.max(main.scale.high, other.scale.high);
        main.scale = other.scale = new ColourScale(low, high, main.scale.palette, state.small);
      }
      return { ...plain, other, against: other.title, cut };
    }
    const name = `${state.series}/${main.title}-${this.book.meta.series.indexOf(second.series)}/${other.title}/${state.call}/${state.batch}/${second.item.call}/${second.item.batch}/${[...hiddenKeys].join()}/${state.rescale}/${state.threshold}`;
    const shown = this.remembered(name, () => difference(main.shown, other.shown));
    /** @type {Sheet} */
    const sheet = {
      ...main,
      title: `${main.title} minus ${other.title}`,
      shown,
      stored: shown,
      pyramid: this.pyramid(shown, true),
      scale: this.scale(state, series, shown, true, colours),
      signed: true,
    };
    return { ...plain, main: sheet, against: other.title, isDifference: true, cut };
  }
}

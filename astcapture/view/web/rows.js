import { mapName } from "./book.js";
/** @import { Book } from "./book.js" */
/** @import { Item } from "./types.js" */

/** Maps up to this many cells are decoded at once when a row of them is asked for. */
const SMALL_MAP = 128 * 128;

/** One query's row in every head: exact where the head is decoded, coarse until then. */
export class Rows {
  /**
   * @param {Book} book
   * @param {() => void} arrived called when coarse rows have become exact
   */
  constructor(book, arrived) {
    this.book = book;
    this.arrived = arrived;
    /** @type {Map<string, Float32Array>} */
    this.known = new Map();
    /** @type {{item: Item, head: number, query: number, name: string}[]} */
    this.waiting = [];
    this.timer = 0;
  }

  /**
   * @param {Item} item
   * @param {number} head
   * @param {number} query
   * @returns {{values: Float32Array, exact: boolean}}
   */
  row(item, head, query) {
    const name = `${mapName(item.maps[head])}/${query}`;
    const known = this.known.get(name);
    if (known) return { values: known, exact: true };
    if (item.rows * item.columns <= SMALL_MAP || this.book.isDecoded(item, head)) {
      const values = this.book.field(item, head).row(query);
      if (this.known.size > 4000) this.known.clear();
      this.known.set(name, values);
      return { values, exact: true };
    }
    const thumb = this.book.thumb(item, head);
    return { values: thumb.row(Math.min(thumb.rows - 1, Math.floor((query * thumb.rows) / item.rows))), exact: false };
  }

  /**
   * @param {Item} item
   * @param {number} head
   * @param {number} query
   * @param {number} key
   * @returns {number} NaN where it is not known, or not yet
   */
  value(item, head, query, key) {
    if (query >= item.rows || key >= item.columns) return NaN;
    const { values, exact } = this.row(item, head, query);
    return exact ? values[key] : NaN;
  }

  /**
   * Decode the heads of a chosen row one after the other, between the reader's actions.
   * @param {{item: Item, head: number}[]} heads
   * @param {number} query
   */
  fetch(heads, query) {
    clearTimeout(this.timer);
    this.waiting = [];
    for (const { item, head } of heads) {
      const name = `${mapName(item.maps[head])}/${query}`;
      if (query < item.rows && !this.known.has(name)) this.waiting.push({ item, head, query, name });
    }
    if (this.waiting.length) this.timer = window.setTimeout(() => this.step(), 400);
  }

  step() {
    const start = performance.now();
    while (this.waiting.length && performance.now() - start < 12) {
      const { item, head, query, name } = /** @type {{item: Item, head: number, query: number, name: string}} */ (this.waiting.shift());
      this.known.set(name, this.book.field(item, head).row(query));
    }
    if (this.waiting.length) this.timer = window.setTimeout(() => this.step(), 30);
    else this.arrived();
  }
}

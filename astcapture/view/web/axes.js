/** @import { Axis, Meta } from "./types.js" */

/**
 * @typedef {object} Part a run of positions of one kind
 * @property {"index"|"tokens"|"patches"} kind
 * @property {number} start
 * @property {number} n
 * @property {Axis} axis
 */

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/;

/** What the positions of an axis are called. */
export class Labels {
  /**
   * @param {Meta} meta
   * @param {number} index of the axis
   * @param {number} n how many positions the map has: more than the axis names, or fewer, is shown all the same
   */
  constructor(meta, index, n) {
    this.index = index;
    this.n = n;
    /** @type {Part[]} */
    this.parts = [];
    const axis = meta.axes[index];
    const axes = axis?.kind === "joined" ? axis.parts.map((part) => meta.axes[part]) : axis ? [axis] : [];
    let start = 0;
    for (const one of axes) {
      const length =
        one.kind === "tokens" ? one.words.length : one.kind === "patches" ? one.prefix + one.rows * one.columns : one.kind === "index" ? one.n : 0;
      const fits = Math.min(length, n - start);
      if (fits > 0) this.parts.push({ kind: one.kind === "joined" ? "index" : one.kind, start, n: fits, axis: one });
      start += Math.max(0, fits);
    }
    if (start < n) this.parts.push({ kind: "index", start, n: n - start, axis: { kind: "index", n: n - start } });
    this.hasWords = this.parts.some((part) => part.kind === "tokens");
    this.hasPatches = this.parts.some((part) => part.kind === "patches");
  }

  /**
   * @param {number} position
   * @returns {{part: Part, inside: number}}
   */
  find(position) {
    let part = this.parts[0];
    for (const one of this.parts) if (position >= one.start) part = one;
    return { part, inside: position - part.start };
  }

  /**
   * @param {number} position
   * @returns {string} a few letters for an axis
   */
  short(position) {
    const { part, inside } = this.find(position);
    const { axis } = part;
    if (axis.kind === "tokens") return axis.shown[inside] ?? axis.words[inside];
    if (axis.kind === "patches") {
      if (inside < axis.prefix) return axis.prefix_names[inside] ?? `extra ${inside}`;
      const patch = inside - axis.prefix;
      return `${Math.floor(patch / axis.columns)},${patch % axis.columns}`;
    }
    return String(position);
  }

  /**
   * @param {number} position
   * @returns {string} with what it is, as it is spoken
   */
  long(position) {
    const { part, inside } = this.find(position);
    const { axis } = part;
    if (axis.kind === "tokens") return `${position} “${this.short(position).trim() || this.short(position)}”`;
    if (axis.kind === "patches" && inside >= axis.prefix) {
      const patch = inside - axis.prefix;
      return `${position} (patch row ${Math.floor(patch / axis.columns)}, column ${patch % axis.columns})`;
    }
    return axis.kind === "patches" ? `${position} (${this.short(position)})` : String(position);
  }

  /**
   * @param {number} position
   * @returns {boolean} a token such as [CLS] or </s>, or a prefix cell of an image
   */
  special(position) {
    const { part, inside } = this.find(position);
    if (part.axis.kind === "tokens") return part.axis.special.includes(inside);
    return part.axis.kind === "patches" && inside < part.axis.prefix;
  }

  /**
   * @param {string} text
   * @returns {number[]} positions whose label holds the text, or whose number it is
   */
  search(text) {
    const wanted = text.trim().toLowerCase();
    const found = [];
    if (!wanted) return [];
    for (let i = 0; i < this.n; i++) {
      if (this.short(i).toLowerCase().includes(wanted) || String(i) === wanted) found.push(i);
    }
    return found;
  }

  /** @returns {boolean} whether most words read from right to left */
  get rightToLeft() {
    let right = 0;
    let left = 0;
    for (let i = 0; i < Math.min(this.n, 400); i++) {
      const word = this.short(i);
      if (RIGHT_TO_LEFT.test(word)) right++;
      else if (/\p{L}/u.test(word) && !this.special(i)) left++;
    }
    return right > left;
  }

  /** @returns {number} positions of one row of patches, by which the up and down arrows go; 0 without an image */
  get across() {
    const patches = this.parts.find((part) => part.axis.kind === "patches");
    return patches?.axis.kind === "patches" ? patches.axis.columns : 0;
  }
}

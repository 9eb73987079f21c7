import { focusOf } from "./look.js";
import { clamp, fourDigits } from "./numbers.js";
import { cutText, textWidth, visibleText } from "./pen.js";
/** @import { Field } from "./field.js" */
/** @import { Hit, Look } from "./look.js" */
/** @import { Pen } from "./pen.js" */

/** More lines than this cannot be told apart, and take long. */
const MOST_LINES = 4000;
const LINES_TOP = 26;
/** Room for the number behind a word, and from there to its value. */
const PLACE_WIDTH = 30;
const VALUE_GAP = 12;
const WIDEST_VALUE = "0.0007293";

/**
 * The largest entries of a list of lines.
 * @param {{q: number, k: number, v: number}[]} lines
 * @param {number} n
 * @returns {{q: number, k: number, v: number}[]}
 */
function strongest(lines, n) {
  if (lines.length <= n) return lines;
  return lines.sort((a, b) => Math.abs(b.v) - Math.abs(a.v)).slice(0, n);
}

/**
 * @param {Float32Array} values
 * @returns {number}
 */
function strongestPlace(values) {
  let best = 0;
  values.forEach((value, i) => {
    if (Math.abs(value) > (Math.abs(values[best]) || 0)) best = i;
  });
  return best;
}

/** Queries left, keys right, and a line for each weight. Both sides answer the pointer. */
export class LinesView {
  constructor() {
    this.offsets = [0, 0];
    this.row = 18;
    this.columns = [0, 0];
    this.height = 0;
    this.counts = [0, 0];
    this.lastFocus = "";
    this.room = 100;
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {number} w
   * @param {number} h
   */
  draw(pen, look, w, h) {
    const { state, scene, colours } = look;
    const { main } = scene;
    const { shown, rowLabels, columnLabels } = main;
    this.height = h - LINES_TOP - 22;
    this.counts = [shown.rows, shown.columns];
    this.row = clamp(Math.floor(this.height / Math.max(...this.counts)), 17, 26);
    const heads = state.heads.length && !scene.isDifference ? state.heads : null;
    const { query, key } = focusOf(state);
    // What is focused from the keyboard must be in sight; the pointer only reaches what is.
    const now = `${state.query}/${state.key}/${state.lock}/${main.title}`;
    if (now !== this.lastFocus) {
      // Of a long text the other side goes where the chosen word's strongest line leads.
      this.show(0, state.lock === "key" ? strongestPlace(shown.column(state.key)) : state.query);
      this.show(1, state.lock === "query" ? strongestPlace(shown.row(state.query)) : state.key);
    }
    this.lastFocus = now;
    for (const side of [0, 1]) this.offsets[side] = clamp(this.offsets[side], 0, Math.max(0, this.counts[side] * this.row - this.height));
    const gap = clamp(w * (w < 560 ? 0.3 : 0.4), 90, 420);
    const middle = w / 2;
    this.columns = [middle - gap / 2, middle + gap / 2];
    const [left, right] = this.columns;
    const room = left - 14;
    this.room = Math.max(30, left - VALUE_GAP - PLACE_WIDTH - (heads ? heads.length * 11 : textWidth(WIDEST_VALUE, 11)));
    const narrow = textWidth("query: attends to →", 12, true) > room;
    pen.text(narrow ? "attends to →" : "query: attends to →", left - 8, 12, { fill: colours.query, size: 12, bold: true, align: "right", width: room });
    pen.text(narrow ? "attended to" : "key: is attended to", right + 8, 12, { fill: colours.key, size: 12, bold: true, width: room });

    if (heads) {
      const step = Math.min(44, (gap + 20) / heads.length);
      heads.forEach((head, i) => {
        const x = middle + (i - heads.length / 2) * step;
        pen.rect(x, 7, 10, 10, colours.heads[head % colours.heads.length]);
        pen.text(`H${head}`, x + 13, 12, { fill: colours.ink, size: 11, width: step - 12 });
      });
    }

    const mode = state.hoverQuery !== null ? "query" : state.hoverKey !== null ? "key" : state.lock;
    const fields = heads ? heads.map((head) => look.field(main.item, head)) : [shown];
    let drawn = 0;
    let all = 0;
    pen.clip(0, LINES_TOP, w, this.height, () => {
      fields.forEach((field, index) => {
        const head = heads ? heads[index] : 0;
        const found = this.lines(field, mode, query, key, look);
        all += found.length;
        const top = strongest(found, Math.floor(MOST_LINES / fields.length));
        drawn += top.length;
        // One word's lines run to its own largest weight: most are far below the largest of the head.
        const own = Math.max(1e-12, ...found.slice(0, 5000).map(({ v }) => Math.abs(v)));
        const largest = mode && !heads ? own : heads ? Math.max(1e-12, field.extent()[1]) : Math.max(1e-12, Math.abs(main.scale.high), Math.abs(main.scale.low));
        for (const { q, k, v } of top) {
          const share = clamp(Math.abs(v) / largest, 0, 1);
          const colour = heads ? colours.heads[head % colours.heads.length] : main.signed && v < 0 ? colours.key : main.signed ? colours.query : colours.heads[0];
          pen.line(left, this.y(0, q), right, this.y(1, k), colour, mode ? 1 + 3 * share : 0.6 + 1.6 * share, (mode ? 0.15 + 0.85 * share : share) / Math.sqrt(fields.length));
        }
      });
      this.words(pen, look, 0, mode, query);
      this.words(pen, look, 1, mode, key);
      this.values(pen, look, fields, heads, mode, query, key);
    });
    const what = mode
      ? mode === "query"
        ? `lines of query ${visibleText(rowLabels.long(query))}`
        : `lines of key ${visibleText(columnLabels.long(key))}`
      : "all visible lines; hover a word on either side for its own";
    const cut = drawn < all ? `. Showing the strongest ${drawn.toLocaleString("en")} of ${all.toLocaleString("en")}` : "";
    pen.text(`${what}${cut}`, w / 2, h - 10, { fill: colours.dim, size: 12, align: "center", width: w - 16 });
  }

  /**
   * @param {number} side
   * @param {number} position
   */
  show(side, position) {
    const y = position * this.row;
    const inside = y >= this.offsets[side] && y + this.row <= this.offsets[side] + this.height;
    if (!inside) this.offsets[side] = y - this.height / 2;
  }

  /**
   * @param {number} side
   * @param {number} position
   * @returns {number}
   */
  y(side, position) {
    return LINES_TOP + (position + 0.5) * this.row - this.offsets[side];
  }

  /**
   * @param {number} side
   * @returns {[number, number]} first and last position in sight
   */
  inSight(side) {
    const first = Math.floor(this.offsets[side] / this.row);
    return [Math.max(0, first), Math.min(this.counts[side] - 1, Math.ceil(first + this.height / this.row))];
  }

  /**
   * @param {Field} field
   * @param {string} mode
   * @param {number} query
   * @param {number} key
   * @param {Look} look
   * @returns {{q: number, k: number, v: number}[]}
   */
  lines(field, mode, query, key, look) {
    const [low, high] = field.extent();
    const least = 0.01 * Math.max(Math.abs(low), Math.abs(high));
    const rows = mode === "query" ? [query, query] : mode === "key" ? [0, field.rows - 1] : this.inSight(0);
    const columns = mode === "key" ? [key, key] : mode === "query" ? [0, field.columns - 1] : this.inSight(1);
    const out = [];
    for (let q = rows[0]; q <= rows[1]; q++) {
      for (let k = columns[0]; k <= columns[1]; k++) {
        const v = field.number(q, k);
        if (Math.abs(v) > least && !look.scene.hiddenKeys.has(k)) out.push({ q, k, v });
      }
    }
    return out;
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {number} side
   * @param {string} mode
   * @param {number} chosen
   */
  words(pen, look, side, mode, chosen) {
    const { colours, scene } = look;
    const labels = side ? scene.main.columnLabels : scene.main.rowLabels;
    const found = side ? look.foundKeys : look.foundQueries;
    const [first, last] = this.inSight(side);
    const x = this.columns[side] + (side ? 8 : -8);
    const room = this.room;
    const own = side ? mode === "key" : mode === "query";
    for (let i = first; i <= last; i++) {
      const y = this.y(side, i);
      const text = cutText(visibleText(labels.short(i)), 13, room);
      const width = textWidth(text, 13, own && i === chosen);
      const strong = own && i === chosen;
      const from = side ? x - 3 : x - width - 3;
      if (strong) pen.rect(from, y - this.row / 2 + 1, width + 6, this.row - 2, side ? colours.key : colours.query);
      else if (found.has(i)) pen.frame(from + 0.5, y - this.row / 2 + 1.5, width + 5, this.row - 3, colours.found, 2);
      const hidden = side === 1 && scene.hiddenKeys.has(i);
      const fill = strong ? (colours.dark ? "#000" : "#fff") : hidden ? colours.rule : colours.ink;
      pen.text(text, x, y, { fill, size: 13, align: side ? "left" : "right", bold: strong });
      if (this.row >= 16 && labels.hasWords) {
        const far = side ? x + width + 8 : x - width - 8;
        pen.text(String(i), far, y, { fill: colours.dim, size: 10, align: side ? "left" : "right" });
      }
    }
  }

  /**
   * The weights of the focused word, as numbers for one head, as a square for each of several.
   * @param {Pen} pen
   * @param {Look} look
   * @param {Field[]} fields
   * @param {number[]|null} heads
   * @param {string} mode
   * @param {number} query
   * @param {number} key
   */
  values(pen, look, fields, heads, mode, query, key) {
    if (!mode) return;
    const { colours, scene } = look;
    const side = mode === "query" ? 1 : 0;
    const labels = side ? scene.main.columnLabels : scene.main.rowLabels;
    const [first, last] = this.inSight(side);
    let widest = 0;
    for (let i = first; i <= last; i++) widest = Math.max(widest, textWidth(cutText(visibleText(labels.short(i)), 13, this.room), 13));
    const width = widest + (labels.hasWords ? PLACE_WIDTH : 10);
    for (let i = first; i <= last; i++) {
      const y = this.y(side, i);
      const x = this.columns[side] + (side ? width + VALUE_GAP : -width - VALUE_GAP);
      fields.forEach((field, index) => {
        const value = side ? field.number(query, i) : field.number(i, key);
        const largest = Math.max(1e-12, field.extent()[1]);
        if (heads) {
          const at = x + (side ? 1 : -1) * index * 11;
          const colour = colours.heads[heads[index] % colours.heads.length];
          pen.frame(at - 4.5, y - 4.5, 9, 9, colours.rule);
          if (value > 0) pen.rect(at - 4, y - 4, 8, 8, colour, Math.min(1, value / largest));
        } else if (Math.abs(value) > 0.005 * largest) {
          pen.text(fourDigits(value), x, y, { fill: colours.dim, size: 11, align: side ? "left" : "right" });
        }
      });
    }
  }

  /**
   * @param {number} x
   * @param {number} y
   * @returns {Hit|null}
   */
  hit(x, y) {
    const side = x < this.columns[0] + 12 ? 0 : x > this.columns[1] - 12 ? 1 : -1;
    if (side < 0 || y < LINES_TOP || y > LINES_TOP + this.height) return null;
    const i = Math.floor((y - LINES_TOP + this.offsets[side]) / this.row);
    if (i < 0 || i >= this.counts[side]) return null;
    return side ? { key: i, query: null } : { query: i, key: null };
  }

  /**
   * @param {Look} _look
   * @param {number} x
   * @param {number} _y
   * @param {number} _dx
   * @param {number} dy
   * @returns {boolean}
   */
  scroll(_look, x, _y, _dx, dy) {
    const before = this.offsets.join();
    for (const side of [0, 1]) {
      if (side ? x < this.columns[0] : x > this.columns[1]) continue;
      this.offsets[side] = clamp(this.offsets[side] + dy, 0, Math.max(0, this.counts[side] * this.row - this.height));
    }
    return before !== this.offsets.join();
  }
}

import { byId, make } from "./canvas.js";
import { rescaling } from "./change.js";
import { MARK, MARK_NAMES } from "./field.js";
import { focusOf } from "./look.js";
import { fourDigits, percent } from "./numbers.js";
import { visibleText } from "./pen.js";
import { capital, termsOf } from "./terms.js";
/** @import { Field } from "./field.js" */
/** @import { Look } from "./look.js" */
/** @import { Store } from "./state.js" */

const SHOWN_AT_FIRST = 12;

/**
 * @param {Look} look
 * @returns {string} the cell that is looked at, as it is spoken
 */
export function spokenCell(look) {
  const { query, key } = focusOf(look.state);
  const { rowLabels, columnLabels, shown } = look.scene.main;
  const mark = shown.mark(query, key);
  const value = mark ? MARK_NAMES[mark] : fourDigits(shown.at(query, key)).replace("−", "minus ");
  const terms = termsOf(look.scene.main);
  return `${capital(terms.row)} ${visibleText(rowLabels.long(query))}, ${terms.column} ${visibleText(columnLabels.long(key))}: ${value}`;
}

/**
 * @param {Field} shown
 * @param {number} query
 * @returns {number} how many cells of a row are NaN or infinite; masked ones are meant to have no number
 */
function oddCells(shown, query) {
  let count = 0;
  for (let key = 0; key < shown.columns; key++) {
    const mark = shown.mark(query, key);
    if (mark === MARK.nan || mark === MARK.inf) count++;
  }
  return count;
}

/** The numbers: the cell, its row, and the keys by their weight. */
export class Details {
  /**
   * @param {Store} store
   * @param {(value: number) => void} rescale
   */
  constructor(store, rescale) {
    this.store = store;
    this.rescale = rescale;
    this.most = SHOWN_AT_FIRST;
    this.cellKey = "";
    byId("more").addEventListener("click", () => {
      this.most += 50;
      this.redraw();
    });
    for (const side of /** @type {const} */ (["keys", "queries"])) {
      byId(`side-${side}`).addEventListener("click", () => this.store.set({ side }));
    }
    for (const [id, step] of /** @type {const} */ ([
      ["previous", -1],
      ["next", 1],
    ])) {
      byId(id).addEventListener("click", () => {
        const { state } = this.store;
        this.store.set(state.side === "keys" ? { query: Math.max(0, state.query + step) } : { key: Math.max(0, state.key + step) });
      });
    }
    byId("value").addEventListener("click", () => this.value !== null && this.rescale(this.value));
    byId("hide-key").addEventListener("click", () => {
      const { hide, key } = this.store.state;
      this.store.set({ hide: hide.includes(key) ? hide.filter((one) => one !== key) : [...hide, key] });
    });
    /** @type {number|null} */
    this.value = null;
    /** @type {Look|null} */
    this.look = null;
  }

  redraw() {
    if (this.look) this.draw(this.look);
  }

  /** @param {Look} look */
  draw(look) {
    this.look = look;
    const { state, scene } = look;
    const { main } = scene;
    const { shown, stored, rowLabels, columnLabels, series } = main;
    const focus = focusOf(state);
    const [query, key] = [Math.min(focus.query, shown.rows - 1), Math.min(focus.key, shown.columns - 1)];
    byId("cell-query").textContent = byId("cell-query").title = visibleText(rowLabels.long(query));
    byId("cell-key").textContent = byId("cell-key").title = visibleText(columnLabels.long(key));
    this.value = shown.at(query, key);
    const mark = shown.mark(query, key);
    byId("value").textContent = mark ? MARK_NAMES[mark] : fourDigits(this.value);
    const factor = scene.isDifference || stored === shown ? 1 : rescaling(stored, shown, query);
    const error =
      factor > 1.0005
        ? `about ± ${fourDigits(stored.error * factor)}: renormalising multiplied this row, and the error of its 8 bits, by ${fourDigits(factor)}`
        : `± ${fourDigits(stored.error)} at most: values are stored in 8 bits`;
    byId("error").textContent = stored.error > 0 && !mark ? error : mark === MARK.fine ? "exact (32-bit floats)" : "";
    if (scene.isDifference) byId("error").textContent += "; error of a difference";
    const before = stored.at(query, key);
    byId("before").textContent = stored !== shown && before !== null && before !== this.value ? `${fourDigits(before)} before hiding and rescaling` : "";
    byId("hide-key").textContent = state.hide.includes(state.key) ? "Show this key again (x)" : "Hide this key (x)";

    const isAttention = series.kind === "attention" && !scene.isDifference;
    const row = shown.row(query);
    const sum = row.reduce((a, v) => a + (Number.isNaN(v) ? 0 : v), 0);
    const kept = stored.keptShare(query);
    const rounded = main.stored.error > 0 ? ", rounded to 8 bits" : "";
    const unknown = oddCells(shown, query);
    const rowText = [`Row sum ${fourDigits(sum)}${stored === shown ? rounded : " of what is shown"}.`];
    if (unknown === row.length) rowText[0] = "No cell of this row has a number.";
    else if (unknown) rowText[0] = `Sum of the cells that have a number: ${fourDigits(sum)}. ${unknown.toLocaleString("en")} ${unknown === 1 ? "has" : "have"} none.`;
    if (isAttention && kept < 1) rowText.push(`${percent(kept)} of this row's mass is in the file; ${percent(1 - kept)}, its smallest weights, is left out.`);
    else if (isAttention) rowText.push("All of this row is in the file.");
    byId("row-text").textContent = series.kind === "strip" || series.kind === "channels" ? "" : rowText.join(" ");
    this.brushed(look);
    this.ranked(look, query, key, row, sum);
    for (const side of ["keys", "queries"]) byId(`side-${side}`).setAttribute("aria-pressed", String(state.side === side));
  }

  /** @param {Look} look */
  brushed({ state, scene }) {
    const box = byId("brushed");
    box.hidden = !state.brush;
    if (!state.brush) return;
    const [q0, q1, k0, k1] = state.brush;
    const { shown, rowLabels, columnLabels } = scene.main;
    let sum = 0;
    let rows = 0;
    let unknown = 0;
    for (let q = q0; q <= q1; q++) {
      for (let k = 0; k < shown.columns; k++) {
        const value = shown.number(q, k);
        const inside = k >= k0 && k <= k1;
        if (Number.isNaN(value)) unknown += inside ? 1 : 0;
        else {
          rows += value;
          if (inside) sum += value;
        }
      }
    }
    const cells = (q1 - q0 + 1) * (k1 - k0 + 1);
    const lines = [
      `Queries ${visibleText(rowLabels.long(q0))} to ${visibleText(rowLabels.long(q1))} × keys ${visibleText(columnLabels.long(k0))} to ${visibleText(columnLabels.long(k1))}: ${cells.toLocaleString("en")} cells.`,
      `Sum ${fourDigits(sum)}, mean of a cell ${fourDigits(sum / Math.max(1, cells - unknown))}, for each query ${fourDigits(sum / (q1 - q0 + 1))}.`,
    ];
    if (rows > 0 && !scene.main.signed) lines.push(`${percent(sum / rows)} of these queries' total.`);
    if (unknown) lines.push(`${unknown.toLocaleString("en")} cells without a number are not in the sum.`);
    byId("brush-text").textContent = lines.join(" ");
  }

  /**
   * @param {Look} look
   * @param {number} query
   * @param {number} key
   * @param {Float32Array} row
   * @param {number} sum
   */
  ranked({ state, scene, colours }, query, key, row, sum) {
    const { shown, rowLabels, columnLabels, signed } = scene.main;
    const terms = termsOf(scene.main);
    const keys = state.side === "keys" || !terms.isMap;
    const values = keys ? row : shown.column(key);
    const labels = keys ? columnLabels : rowLabels;
    const chosen = keys ? key : query;
    byId("list-title").textContent = keys
      ? `${capital(terms.row)} ${visibleText(rowLabels.long(query))} ${terms.looks}`
      : `${capital(terms.column)} ${visibleText(columnLabels.long(key))} ${terms.looked}`;
    const known = [...values.keys()].filter((i) => !Number.isNaN(values[i]));
    const order = known.filter((i) => values[i] !== 0);
    order.sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]) || a - b);
    const table = byId("list");
    table.replaceChildren();
    const largest = Math.max(1e-12, ...order.slice(0, 1).map((i) => Math.abs(values[i])));
    let reached = 0;
    order.slice(0, this.most).forEach((i, rank) => {
      reached += values[i];
      const line = make("tr");
      if (i === chosen) line.className = "chosen";
      const name = make("td");
      const button = make("button", "plain", visibleText(labels.short(i)));
      button.title = button.textContent ?? "";
      button.addEventListener("click", () => this.store.set(keys ? { key: i, lock: "query" } : { query: i, lock: "key" }));
      name.append(button);
      const bar = make("td", "bar");
      const fill = make("span");
      fill.style.width = `${(100 * Math.abs(values[i])) / largest}%`;
      fill.style.background = signed && values[i] < 0 ? colours.key : signed ? colours.query : colours.heads[0];
      bar.append(fill);
      line.append(make("td", "number dim", String(rank + 1)), make("td", "number dim", String(i)), name, make("td", "number", fourDigits(values[i])), bar);
      table.append(line);
    });
    const shownCount = Math.min(this.most, order.length);
    byId("more").hidden = order.length <= this.most;
    const of = sum > 0 && keys && !signed ? `; together ${percent(reached / sum)} of the row that is shown` : "";
    const zeros = known.length - order.length;
    const rest = zeros ? `. ${zeros.toLocaleString("en")} more ${zeros === 1 ? "is" : "are"} 0` : "";
    byId("list-note").textContent = `${shownCount} of ${order.length.toLocaleString("en")}${of}${rest}.`;
  }
}

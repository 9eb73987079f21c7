import { CHOICES, FIRST_STATE } from "./state.js";
import { clamp } from "./numbers.js";
/** @import { Book } from "./book.js" */
/** @import { State, StateName } from "./state.js" */
/** @import { Item, Series } from "./types.js" */

/**
 * @param {unknown} value
 * @param {number} otherwise
 * @returns {number}
 */
function whole(value, otherwise) {
  const number = Math.round(Number(value));
  return Number.isFinite(number) ? number : otherwise;
}

/**
 * The item that a choice names, or the nearest that there is.
 * @param {Book} book
 * @param {Series} series
 * @param {number} layer
 * @param {number} call
 * @param {number} batch
 * @returns {Item|null}
 */
export function nearestItem(book, series, layer, call, batch) {
  const exact = book.item(series, layer, call, batch);
  if (exact) return exact;
  /** @param {Item} item @returns {number} */
  const far = (item) => Math.abs(item.layer - layer) * 1e8 + Math.abs(item.call - call) * 1e4 + Math.abs(item.batch - batch);
  let best = null;
  for (const item of series.items) if (!best || far(item) < far(best)) best = item;
  return best;
}

/**
 * Make a state fit the file: an address may be old, and a layer may have fewer heads than the last one.
 * @param {State} state
 * @param {Book} book
 */
export function settleState(state, book) {
  for (const name of /** @type {StateName[]} */ (Object.keys(CHOICES))) {
    if (!CHOICES[name]?.includes(String(state[name]))) Object.assign(state, { [name]: FIRST_STATE[name] });
  }
  state.series = clamp(whole(state.series, 0), 0, Math.max(0, book.meta.series.length - 1));
  const series = book.meta.series[state.series];
  if (!series) return;
  const named = series.layers.indexOf(String(state.layer));
  state.layer = named >= 0 ? named : clamp(whole(state.layer, 0), 0, series.layers.length - 1);
  const item = nearestItem(book, series, state.layer, whole(state.call, 0), whole(state.batch, 0));
  if (!item) return;
  state.layer = item.layer;
  state.call = item.call;
  state.batch = item.batch;
  if (state.head !== "mean" && state.head !== "max") state.head = clamp(whole(state.head, 0), 0, item.heads - 1);
  state.heads = [...new Set(state.heads)].filter((head) => head >= 0 && head < item.heads).sort((a, b) => a - b);
  state.query = clamp(whole(state.query, 0), 0, item.rows - 1);
  state.key = clamp(whole(state.key, 0), 0, item.columns - 1);
  state.threshold = clamp(Number(state.threshold) || 0, 0.01, 1);
  state.contour = clamp(Number(state.contour) || 0, 0, 0.99);
  state.hide = [...new Set(state.hide)].filter((key) => key >= 0 && key < item.columns).sort((a, b) => a - b);
  if (state.hoverQuery !== null && state.hoverQuery >= item.rows) state.hoverQuery = null;
  if (state.hoverKey !== null && state.hoverKey >= item.columns) state.hoverKey = null;
  if (state.brush) {
    const [first, last, left, right] = state.brush;
    /** @param {number} value @param {number} n @returns {number} */
    const inside = (value, n) => clamp(whole(value, 0), 0, n - 1);
    state.brush = [
      Math.min(inside(first, item.rows), inside(last, item.rows)),
      Math.max(inside(first, item.rows), inside(last, item.rows)),
      Math.min(inside(left, item.columns), inside(right, item.columns)),
      Math.max(inside(left, item.columns), inside(right, item.columns)),
    ];
  }
  if (state.zoom) {
    const [query, key, factor] = state.zoom;
    // 4096 cells at 1/16 of a pixel need a factor of 500 to be 30 pixels wide.
    const largest = Math.max(8, Math.max(item.rows, item.columns) / 4);
    state.zoom = factor > 1.001 ? [clamp(query, 0, item.rows), clamp(key, 0, item.columns), Math.min(factor, largest)] : null;
  }
  if (!Array.isArray(state.range) && state.range !== "all") state.range = "head";
  if (Array.isArray(state.range) && !(state.range[0] < state.range[1])) state.range = "head";
  const hasOther = state.pin ? book.meta.series[state.pin[0]] : otherRun(book, series);
  if (!hasOther) {
    state.pin = null;
    if (!otherRun(book, series)) state.compare = "off";
  }
}

/**
 * The same values of the other run.
 * @param {Book} book
 * @param {Series} series
 * @returns {Series|null}
 */
export function otherRun(book, series) {
  const same = book.meta.series.filter((one) => one.run !== series.run && one.name === series.name && one.label === series.label);
  return same.find((one) => one.model === series.model) ?? same[0] ?? null;
}

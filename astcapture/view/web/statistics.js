/** @import { Book } from "./book.js" */
/** @import { State } from "./state.js" */
/** @import { Item } from "./types.js" */

/** @type {Readonly<Record<string, readonly [string, string]>>} what a statistic is called, and what a high one means */
const STATISTICS = Object.freeze({
  entropy: ["entropy", "high: spread over many keys; low: one key"],
  distance: ["distance", "mean distance between query and key"],
  diagonal: ["diagonal", "weight on the query's own place"],
  previous: ["previous token", "weight on the token before"],
  first: ["first token", "weight on the first token: an attention sink"],
  induction: ["induction", "weight on the token after an earlier copy of the query"],
});

/** @type {readonly string[]} */
export const STATISTIC_NAMES = Object.keys(STATISTICS);

/**
 * @param {string} name
 * @returns {string}
 */
export function statisticName(name) {
  return STATISTICS[name]?.[0] ?? name;
}

/**
 * @param {string} name
 * @returns {string} what a high one means
 */
export function statisticMeaning(name) {
  return STATISTICS[name]?.[1] ?? "";
}

/**
 * @typedef {object} Head
 * @property {Item} item
 * @property {number} layer
 * @property {number} head
 */

/**
 * Every head of the chosen call and example.
 * @param {Book} book
 * @param {State} state
 * @returns {Head[]} by layer, then by head
 */
export function headsOf(book, state) {
  const series = book.meta.series[state.series];
  /** @type {Head[]} */
  const out = [];
  series?.layers.forEach((_, layer) => {
    const item = book.item(series, layer, state.call, state.batch);
    for (let head = 0; item && head < item.heads; head++) out.push({ item, layer, head });
  });
  return out;
}

/**
 * @param {Head[]} heads
 * @returns {string[]} statistics that they have: a single query has no distance
 */
export function statisticsOf(heads) {
  return Object.keys(STATISTICS).filter((name) => heads.some((head) => !Number.isNaN(statistic(head, name))));
}

/**
 * @param {Head} head
 * @param {string} name
 * @returns {number} NaN where it is not defined
 */
export function statistic({ item, head }, name) {
  return item.stats?.[name]?.[head] ?? NaN;
}

/**
 * @param {Head[]} heads
 * @param {string} name "order" or a statistic
 * @returns {Head[]} the highest first; those without it last
 */
export function sortHeads(heads, name) {
  if (name === "order") return heads;
  /** @param {Head} head @returns {number} */
  const place = (head) => {
    const value = statistic(head, name);
    return Number.isNaN(value) ? -Infinity : value;
  };
  return [...heads].sort((a, b) => place(b) - place(a) || a.layer - b.layer || a.head - b.head);
}

import { CHOICES, FIRST_STATE } from "./state.js";
import { nearestItem } from "./settle.js";
import { STATISTIC_NAMES } from "./statistics.js";
/** @import { Book } from "./book.js" */
/** @import { State } from "./state.js" */

/** @type {Readonly<Record<string, readonly string[]>>} */
const NAMES = Object.freeze({ ...CHOICES, sort: ["order", ...STATISTIC_NAMES], x: STATISTIC_NAMES, y: STATISTIC_NAMES });
/** @type {Readonly<Record<string, number|null>>} how many numbers a list has; null: any number of them */
const LISTS = Object.freeze({ heads: null, hide: null, zoom: 3, brush: 4, pin: 5 });
const MAY_BE_NULL = new Set(["zoom", "brush", "pin", "hoverQuery", "hoverKey"]);

/**
 * @param {unknown} value
 * @returns {string} as a program would write it
 */
function written(value) {
  return JSON.stringify(value) ?? String(value);
}

/**
 * @param {unknown} value
 * @param {number|null} length
 * @returns {boolean}
 */
function isNumbers(value, length) {
  return Array.isArray(value) && value.every((one) => Number.isFinite(one)) && (length === null || value.length === length);
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {number} n how many there are
 */
function checkNumber(name, value, n) {
  if (!Number.isInteger(value)) throw new TypeError(`${name} is a whole number, not ${written(value)}`);
  if (Number(value) < 0 || Number(value) >= n) throw new RangeError(`there is no ${name} ${value}: ${n === 1 ? "the only one is 0" : `there are ${n}, 0 to ${n - 1}`}`);
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function checkForm(name, value) {
  const names = NAMES[name];
  if (names && !names.includes(/** @type {string} */ (value))) throw new RangeError(`${name} is one of ${names.map(written).join(", ")}, not ${written(value)}`);
  if (value === null && MAY_BE_NULL.has(name)) return;
  const length = LISTS[name];
  if (length !== undefined && !isNumbers(value, length)) throw new TypeError(`${name} is a list of ${length ? `${length} ` : ""}numbers, not ${written(value)}`);
  if (name === "range" && value !== "head" && value !== "all" && !isNumbers(value, 2)) throw new TypeError(`range is "head", "all" or two numbers, not ${written(value)}`);
  if (name === "find" && typeof value !== "string") throw new TypeError(`find is a text, not ${written(value)}`);
  if (name === "threshold" || name === "contour") {
    if (typeof value !== "number") throw new TypeError(`${name} is a number, not ${written(value)}`);
    if (!(value >= 0 && value <= 1)) throw new RangeError(`${name} is from 0 to 1, not ${written(value)}`);
  }
  const isSwitch = typeof (/** @type {Record<string, unknown>} */ (FIRST_STATE)[name]) === "boolean";
  if (isSwitch && typeof value !== "boolean") throw new TypeError(`${name} is true or false, not ${written(value)}`);
}

/**
 * What a program asks for must be there, or its mistake would not be seen. An address is settled instead, since it may
 * be that of an older file.
 * @param {Partial<State>} changes
 * @param {State} state what is chosen so far
 * @param {Book} book
 * @throws {TypeError|RangeError} it says what there is
 */
export function checkChanges(changes, state, book) {
  for (const [name, value] of Object.entries(changes)) checkForm(name, value);
  if ("series" in changes) checkNumber("series", changes.series, book.meta.series.length);
  const series = book.meta.series[changes.series ?? state.series];
  const { layers } = series;
  /** @type {unknown} */
  let layer = changes.layer ?? state.layer;
  if (typeof layer === "string") {
    const names = layers.slice(0, 20).map(written).join(", ");
    if (!layers.includes(layer)) throw new RangeError(`there is no layer ${written(layer)}; there ${layers.length === 1 ? "is" : "are"} ${names}${layers.length > 20 ? " and more" : ""}`);
    layer = layers.indexOf(layer);
  } else if ("layer" in changes) checkNumber("layer", layer, layers.length);
  for (const name of /** @type {const} */ (["call", "batch"])) {
    if (!(name in changes)) continue;
    const there = [...new Set(series.items.map((item) => item[name]))];
    if (!there.includes(/** @type {number} */ (changes[name]))) throw new RangeError(`there is no ${name} ${written(changes[name])}: there ${there.length === 1 ? "is" : "are"} ${there.slice(0, 20).join(", ")}${there.length > 20 ? " and more" : ""}`);
  }
  const item = nearestItem(book, series, Number(layer), changes.call ?? state.call, changes.batch ?? state.batch);
  if (!item) return;
  if ("head" in changes && changes.head !== "mean" && changes.head !== "max") checkNumber("head", changes.head, item.heads);
  if ("query" in changes) checkNumber("query", changes.query, item.rows);
  if ("key" in changes) checkNumber("key", changes.key, item.columns);
}

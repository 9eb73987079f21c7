/** @import { Sheet } from "./scene.js" */

/**
 * What rows and columns are called: a map of attention has queries and keys, another value has rows and columns.
 * @typedef {object} Terms
 * @property {string} row
 * @property {string} column
 * @property {string} looks follows a row's name
 * @property {string} looked follows a column's name
 * @property {string} one what one picture is: a head or a channel
 * @property {boolean} isMap whether it has rows and columns to speak of
 */

/**
 * @param {Sheet} sheet
 * @returns {Terms}
 */
export function termsOf({ series, rowLabels, columnLabels }) {
  const named = [rowLabels, columnLabels].some((labels) => labels.hasWords || labels.hasPatches);
  if (series.kind === "attention" || (series.kind === "map" && named)) {
    return { row: "query", column: "key", looks: "attends to", looked: "is attended by", one: "head", isMap: true };
  }
  const one = series.kind === "channels" ? "channel" : "head";
  return { row: "row", column: series.kind === "strip" ? "place" : "column", looks: "holds, largest first", looked: "holds, largest first", one, isMap: series.kind !== "strip" };
}

/**
 * @param {string} word
 * @returns {string}
 */
export function capital(word) {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

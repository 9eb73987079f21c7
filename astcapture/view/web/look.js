/**
 * All that a view needs to draw: what was chosen, what there is, and in which colours.
 * @typedef {object} Look
 * @property {import("./state.js").State} state
 * @property {import("./scene.js").Scene} scene
 * @property {import("./colours.js").Colours} colours
 * @property {number} density device pixels for each CSS pixel
 * @property {ReadonlySet<number>} foundQueries
 * @property {ReadonlySet<number>} foundKeys
 * @property {import("./types.js").Picture[]} pictures
 * @property {HTMLImageElement[]} images
 * @property {(item: import("./types.js").Item, head: number) => import("./field.js").Field} field
 *
 * @typedef {{x: number, y: number, w: number, h: number}} Box
 * @typedef {{query?: number|null, key?: number|null, scale?: number}} Hit a place under the pointer; `scale`: a value of the colour bar
 *
 * @typedef {object} View
 * @property {(pen: import("./pen.js").Pen, look: Look, w: number, h: number) => void} draw
 * @property {(x: number, y: number) => Hit|null} hit after it was drawn
 * @property {(look: Look, x: number, y: number, dx: number, dy: number) => boolean} [scroll] whether it has moved
 */

/**
 * The query and the key that are looked at: under the pointer, or else chosen.
 * @param {import("./state.js").State} state
 * @returns {{query: number, key: number}}
 */
export function focusOf(state) {
  return { query: state.hoverQuery ?? state.query, key: state.hoverKey ?? state.key };
}

/**
 * What the file holds, as the Python side writes it. Types only: nothing of this file is in the page.
 * @module
 *
 * @typedef {{kind: "index", n: number}} IndexAxis
 * @typedef {{kind: "tokens", words: string[], shown: string[], special: number[]}} TokenAxis
 * @typedef {{kind: "patches", rows: number, columns: number, prefix: number, prefix_names: string[], image: number|null}} PatchAxis
 * @typedef {{kind: "joined", parts: number[]}} JoinedAxis
 * @typedef {IndexAxis|TokenAxis|PatchAxis|JoinedAxis} Axis
 *
 * @typedef {object} StoredMap one head: values `lo + (hi - lo) * byte / 255`, unless exact
 * @property {[number, number]} scale
 * @property {number} error the largest absolute error of a value
 * @property {"full"|"exact"|"sparse"} form
 * @property {number} block
 * @property {number} [offset]
 * @property {number} [k] sparse: entries for each row
 * @property {boolean} [causal] sparse: no query looks ahead, so that those cells are zero and not left out
 * @property {{block: number, offset?: number}} [row_scale] a float for each row: values are then `row_scale * byte / 255`
 * @property {{block: number, offset?: number, rows: number, columns: number, how?: string, power?: number}} [overview]
 * @property {{block: number, offset?: number, rows: number, columns: number, power?: number}} thumb
 * @property {{block: number, offset?: number}} [kept] sparse: share of each row's mass that is in the file
 * @property {{block: number, offset?: number}} [marks]
 * @property {number} [empty] no cell has a number: what they have instead, one of MARK
 *
 * @typedef {object} Item one value of one layer, in one call, for one example of the batch
 * @property {number} layer
 * @property {number} call
 * @property {number[]} [calls] of a generation whose steps are joined
 * @property {number} [given] of a generation: so many of its tokens were given, the others were generated
 * @property {number} batch
 * @property {number} heads
 * @property {number} rows
 * @property {number} columns
 * @property {number} row_axis
 * @property {number} column_axis
 * @property {Record<string, unknown>} [tags]
 * @property {number|null} [lineno]
 * @property {string|null} [file]
 * @property {number|null} [image] channels: the picture that they lie over
 * @property {Record<string, (number|null)[]|null>} [stats]
 * @property {{nan?: number, inf?: number, negative?: number, off_sum?: number}} [odd]
 * @property {StoredMap[]} maps
 *
 * @typedef {object} Series every value of one function under one label
 * @property {string} name
 * @property {string} label
 * @property {string|null} [model]
 * @property {string} [module]
 * @property {number} run
 * @property {"attention"|"map"|"strip"|"channels"} kind
 * @property {[number, number]} scale
 * @property {boolean} signed
 * @property {string[]} layers
 * @property {Item[]} items
 *
 * @typedef {{src: string, width: number, height: number, name: string}} Picture
 * @typedef {{format: number, title: string, made: string, series: Series[], axes: Axis[], images: Picture[], notes: string[]}} Meta
 */
export {};

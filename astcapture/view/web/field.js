/** What a cell is when it has no number; the first five are stored, the others are made in the page. */
export const MARK = Object.freeze({ fine: 0, nan: 1, inf: 2, minusInf: 3, masked: 4, leftOut: 5, hidden: 6, below: 7 });

/** @type {readonly string[]} */
export const MARK_NAMES = ["", "NaN", "infinite", "minus infinite", "masked", "left out of this file", "hidden", "below the threshold"];

/** Queries × keys of one head. */
export class Field {
  /**
   * @param {number} rows
   * @param {number} columns
   * @param {Float32Array} data
   * @param {object} [more]
   * @param {Uint8Array|null} [more.marks]
   * @param {Uint8Array|null} [more.kept] share of each row's mass that is here, of 255
   * @param {number} [more.error] largest absolute error of a value
   * @param {Field|null} [more.overview] a coarse picture of the whole, with what was left out
   */
  constructor(rows, columns, data, { marks = null, kept = null, error = 0, overview = null } = {}) {
    this.rows = rows;
    this.columns = columns;
    this.data = data;
    this.marks = marks;
    this.kept = kept;
    this.error = error;
    this.overview = overview;
    /** @type {[number, number]|null} */
    this.range = null;
  }

  /**
   * @param {number} query
   * @param {number} key
   * @returns {number} one of MARK
   */
  mark(query, key) {
    const mark = this.marks ? this.marks[query * this.columns + key] : 0;
    if (mark) return mark;
    const value = this.data[query * this.columns + key];
    return Number.isNaN(value) ? MARK.nan : value === Infinity ? MARK.inf : value === -Infinity ? MARK.minusInf : MARK.fine;
  }

  /**
   * @param {number} query
   * @param {number} key
   * @returns {number|null} null where the file or a choice of the reader leaves the value out
   */
  at(query, key) {
    if (!(query >= 0 && key >= 0 && query < this.rows && key < this.columns)) return null;
    const mark = this.mark(query, key);
    if (mark) return mark === MARK.nan ? NaN : mark === MARK.inf ? Infinity : mark === MARK.minusInf ? -Infinity : null;
    return this.data[query * this.columns + key];
  }

  /**
   * The finite numbers of a row, NaN elsewhere.
   * @param {number} query
   * @returns {Float32Array}
   */
  row(query) {
    const out = new Float32Array(this.columns);
    for (let key = 0; key < this.columns; key++) out[key] = this.number(query, key);
    return out;
  }

  /**
   * @param {number} key
   * @returns {Float32Array}
   */
  column(key) {
    const out = new Float32Array(this.rows);
    for (let query = 0; query < this.rows; query++) out[query] = this.number(query, key);
    return out;
  }

  /**
   * @param {number} query
   * @param {number} key
   * @returns {number}
   */
  number(query, key) {
    const value = this.at(query, key);
    return value === null || !Number.isFinite(value) ? NaN : value;
  }

  /** @returns {[number, number]} smallest and largest finite value */
  extent() {
    if (this.range) return this.range;
    let low = Infinity;
    let high = -Infinity;
    const { data, marks } = this;
    for (let i = 0; i < data.length; i++) {
      if (marks && marks[i]) continue;
      const value = data[i];
      if (value < low && value !== -Infinity) low = value;
      if (value > high && value !== Infinity) high = value;
    }
    this.range = low > high ? [0, 0] : [low, high];
    return this.range;
  }

  /**
   * The share of a row's mass that is in the file.
   * @param {number} query
   * @returns {number}
   */
  keptShare(query) {
    return this.kept ? this.kept[query] / 255 : 1;
  }
}

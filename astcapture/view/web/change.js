import { Field, MARK } from "./field.js";

/**
 * Hide keys, and queries, and scale each row up to the sum that it had.
 * @param {Field} field
 * @param {ReadonlySet<number>} keys
 * @param {ReadonlySet<number>} queries
 * @param {boolean} rescale
 * @returns {Field}
 */
export function hideTokens(field, keys, queries, rescale) {
  const { rows, columns } = field;
  const marks = field.marks ? field.marks.slice() : new Uint8Array(rows * columns);
  const data = new Float32Array(rows * columns);
  let largest = 1;
  for (let q = 0, i = 0; q < rows; q++) {
    const from = i;
    let all = 0;
    let gone = 0;
    for (let k = 0; k < columns; k++, i++) {
      const value = field.data[i];
      data[i] = value;
      if (!marks[i] && Number.isFinite(value)) all += value;
      if (keys.has(k) || queries.has(q)) {
        if (!marks[i] && Number.isFinite(value)) gone += value;
        marks[i] = MARK.hidden;
      }
    }
    // What the file leaves out still belongs to the row.
    const mass = all / Math.max(field.keptShare(q), 1 / 255);
    if (!rescale || !(gone > 0) || mass - gone < 1e-9) continue;
    const factor = mass / (mass - gone);
    largest = Math.max(largest, factor);
    for (let j = from; j < i; j++) data[j] *= factor;
  }
  // What multiplies a value multiplies its error.
  return new Field(rows, columns, data, { marks, kept: field.kept, error: field.error * largest });
}

/**
 * @param {Field} stored
 * @param {Field} shown the same after `hideTokens`
 * @param {number} query
 * @returns {number} what the values of a row were multiplied by
 */
export function rescaling(stored, shown, query) {
  let best = 0;
  let factor = 1;
  for (let k = 0; k < shown.columns; k++) {
    const value = shown.number(query, k);
    if (Math.abs(value) > best) {
      best = Math.abs(value);
      factor = value / stored.number(query, k);
    }
  }
  return factor;
}

/**
 * Keep the largest values of each row until they hold a share of its mass.
 * @param {Field} field
 * @param {number} share
 * @returns {Field}
 */
export function keepShare(field, share) {
  const { rows, columns } = field;
  const marks = field.marks ? field.marks.slice() : new Uint8Array(rows * columns);
  const sizes = new Float32Array(columns);
  for (let q = 0; q < rows; q++) {
    let sum = 0;
    for (let k = 0; k < columns; k++) {
      const size = Math.abs(field.number(q, k));
      sizes[k] = Number.isNaN(size) ? 0 : size;
      sum += sizes[k];
    }
    const least = leastOfShare(sizes, (share * sum) / Math.max(field.keptShare(q), 1 / 255));
    for (let k = 0, i = q * columns; k < columns; k++, i++) {
      if (!marks[i] && sizes[k] < least) marks[i] = MARK.below;
    }
  }
  return new Field(rows, columns, field.data, { marks, kept: field.kept, error: field.error });
}

/**
 * The smallest value that is needed, from the largest on, to reach a sum.
 * @param {Float32Array} sizes
 * @param {number} sum
 * @returns {number}
 */
export function leastOfShare(sizes, sum) {
  const sorted = sizes.slice().sort();
  let reached = 0;
  for (let i = sorted.length - 1; i >= 0; i--) {
    reached += sorted[i];
    // Sums of bytes never come out round.
    if (reached >= sum - 1e-6) return sorted[i];
  }
  return 0;
}

/**
 * One minus the other; cells that either leaves out are left out.
 * @param {Field} one
 * @param {Field} other
 * @returns {Field}
 */
export function difference(one, other) {
  const rows = Math.min(one.rows, other.rows);
  const columns = Math.min(one.columns, other.columns);
  const data = new Float32Array(rows * columns);
  const marks = new Uint8Array(rows * columns);
  for (let q = 0, i = 0; q < rows; q++) {
    for (let k = 0; k < columns; k++, i++) {
      marks[i] = one.mark(q, k) || other.mark(q, k);
      if (!marks[i]) data[i] = one.number(q, k) - other.number(q, k);
    }
  }
  return new Field(rows, columns, data, { marks, error: one.error + other.error });
}

/**
 * Mean or largest over heads. A value that some heads leave out counts as zero: what comes out is a lower bound.
 * @param {Field[]} fields of one shape
 * @param {"mean"|"max"} how
 * @returns {Field}
 */
export function combine(fields, how) {
  const { rows, columns } = fields[0];
  const cells = rows * columns;
  const data = new Float32Array(cells).fill(how === "mean" ? 0 : -Infinity);
  const marks = new Uint8Array(cells);
  const seen = new Uint8Array(cells);
  for (const field of fields) {
    for (let i = 0; i < cells; i++) {
      const mark = field.marks ? field.marks[i] : 0;
      const value = field.data[i];
      if (mark) marks[i] = mark;
      else {
        seen[i] = 1;
        if (how === "mean") data[i] += value / fields.length;
        else if (value > data[i]) data[i] = value;
      }
    }
  }
  for (let i = 0; i < cells; i++) {
    // One NaN is enough for a mean to be NaN.
    if (seen[i] && (marks[i] === MARK.leftOut || how === "max")) marks[i] = MARK.fine;
    if (marks[i]) data[i] = 0;
  }
  let kept = null;
  if (how === "mean" && fields.some((field) => field.kept)) {
    kept = new Uint8Array(rows);
    for (let q = 0; q < rows; q++) {
      let sum = 0;
      for (const field of fields) sum += field.keptShare(q);
      kept[q] = Math.floor((255 * sum) / fields.length);
    }
  }
  const overviews = fields.map((field) => field.overview);
  const overview = overviews.every((one) => one !== null) ? combine(/** @type {Field[]} */ (overviews), how) : null;
  return new Field(rows, columns, data, { marks, kept, error: Math.max(...fields.map((field) => field.error)), overview });
}

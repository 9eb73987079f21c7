import { Field, MARK } from "./field.js";

/**
 * @param {string} text base64
 * @returns {Uint8Array}
 */
export function fromBase64(text) {
  const native = /** @type {{fromBase64?: (text: string) => Uint8Array}} */ (/** @type {unknown} */ (Uint8Array));
  if (native.fromBase64) return native.fromBase64(text);
  const binary = atob(text);
  const out = new Uint8Array(binary.length);
  for (let i = 0; i < out.length; i++) out[i] = binary.charCodeAt(i);
  return out;
}

/**
 * @typedef {(block: number) => Uint8Array} Bytes raw bytes of a block
 * @typedef {import("./types.js").StoredMap} StoredMap
 */

/**
 * @param {Bytes} bytes
 * @param {{block: number, offset?: number}} part
 * @param {number} length
 * @returns {Uint8Array}
 */
function slice(bytes, part, length) {
  const from = part.offset ?? 0;
  return bytes(part.block).subarray(from, from + length);
}

/**
 * Floats may begin anywhere in a block, and an array of them needs an address of fours.
 * @param {Uint8Array} raw
 * @returns {Float32Array}
 */
function floats(raw) {
  return new Float32Array(raw.slice().buffer);
}

/**
 * The largest k of each row: planes of columns, coded as differences, and of bytes.
 * @param {Uint8Array} raw
 * @param {number} rows
 * @param {number} columns
 * @param {number} k
 * @param {(row: number) => [number, number]} scaleOf a byte's value is the first plus the byte times the second
 * @returns {{data: Float32Array, marks: Uint8Array}}
 */
export function expandSparse(raw, rows, columns, k, scaleOf) {
  const data = new Float32Array(rows * columns);
  const marks = new Uint8Array(rows * columns).fill(MARK.leftOut);
  const values = 2 * rows * k;
  for (let row = 0; row < rows; row++) {
    const [base, step] = scaleOf(row);
    let column = 0;
    for (let i = row * k; i < (row + 1) * k; i++) {
      const delta = raw[2 * i] | (raw[2 * i + 1] << 8);
      if (delta === 65535) break;
      column += delta;
      data[row * columns + column] = base + step * raw[values + i];
      marks[row * columns + column] = MARK.fine;
    }
  }
  return { data, marks };
}

/**
 * @param {StoredMap} map
 * @param {number} rows
 * @param {number} columns
 * @param {Bytes} bytes
 * @returns {Field}
 */
export function decodeMap(map, rows, columns, bytes) {
  const cells = rows * columns;
  const stored = map.marks ? slice(bytes, map.marks, cells) : null;
  if (map.form === "exact") return new Field(rows, columns, floats(slice(bytes, map, 4 * cells)), { marks: stored });
  const [low, high] = map.scale;
  const rowScale = map.row_scale ? floats(slice(bytes, map.row_scale, 4 * rows)) : null;
  /** @param {number} row @returns {[number, number]} */
  const scaleOf = (row) => (rowScale ? [0, rowScale[row] / 255] : [low, (high - low) / 255]);
  const { error } = map;
  if (map.form === "full") {
    const raw = slice(bytes, map, cells);
    const data = new Float32Array(cells);
    for (let row = 0, i = 0; row < rows; row++) {
      const [base, step] = scaleOf(row);
      for (const end = i + columns; i < end; i++) data[i] = base + step * raw[i];
    }
    return new Field(rows, columns, data, { marks: stored, error });
  }
  const k = map.k ?? 0;
  const { data, marks } = expandSparse(slice(bytes, map, 3 * rows * k), rows, columns, k, scaleOf);
  if (stored) {
    for (let i = 0; i < cells; i++) if (stored[i]) marks[i] = stored[i];
  }
  if (map.causal) {
    // No query looks ahead: these are zeros, and not left out.
    for (let row = 0; row < rows; row++) marks.fill(MARK.fine, row * columns + Math.max(0, row + columns - rows + 1), (row + 1) * columns);
  }
  const kept = map.kept ? slice(bytes, map.kept, rows) : null;
  const overview = map.overview ? smallField(map.overview, map, bytes) : null;
  return new Field(rows, columns, data, { marks, kept, error, overview });
}

/**
 * A thumbnail or an overview: each cell is the largest of those that it covers.
 * @param {{block: number, offset?: number, rows: number, columns: number, power?: number}} part
 * @param {StoredMap} map
 * @param {Bytes} bytes
 * @returns {Field}
 */
export function smallField(part, map, bytes) {
  const [low, high] = map.scale;
  const raw = slice(bytes, part, part.rows * part.columns);
  const data = new Float32Array(raw.length);
  for (let i = 0; i < raw.length; i++) data[i] = part.power ? high * (raw[i] / 255) ** (1 / part.power) : low + ((high - low) * raw[i]) / 255;
  const marks = map.empty ? new Uint8Array(raw.length).fill(map.empty) : null;
  return new Field(part.rows, part.columns, data, { error: map.error, marks });
}

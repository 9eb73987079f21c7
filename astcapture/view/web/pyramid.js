import { Field, MARK } from "./field.js";
/** @import { ColourScale, Colours } from "./colours.js" */
/** @import { Pen } from "./pen.js" */

const TILE_CELLS = 512;

/**
 * Half as many rows and columns; each cell the largest of four, so that a thin diagonal stays.
 * @param {Field} field
 * @param {boolean} signed whether the largest is the one farthest from zero
 * @returns {Field}
 */
export function halve(field, signed) {
  const { rows, columns, data, marks } = field;
  const down = Math.ceil(rows / 2);
  const across = Math.ceil(columns / 2);
  const out = new Float32Array(down * across);
  const outMarks = marks ? new Uint8Array(down * across) : null;
  for (let r = 0, i = 0; r < down; r++) {
    for (let c = 0; c < across; c++, i++) {
      let best = 0;
      let bestSize = -Infinity;
      let mark = 0;
      for (let q = 2 * r; q < Math.min(rows, 2 * r + 2); q++) {
        for (let k = 2 * c; k < Math.min(columns, 2 * c + 2); k++) {
          const j = q * columns + k;
          const odd = marks ? marks[j] : 0;
          const value = data[j];
          // One NaN among a million cells is what is looked for: it goes before every number.
          if ((odd >= MARK.nan && odd <= MARK.minusInf) || value !== value) mark = odd || MARK.nan;
          else if (odd) {
            if (bestSize === -Infinity && !mark) mark = odd;
          } else {
            const size = signed ? Math.abs(value) : value;
            if (size > bestSize) {
              best = value;
              bestSize = size;
              if (mark > MARK.minusInf) mark = 0;
            }
          }
        }
      }
      out[i] = best;
      if (outMarks) outMarks[i] = mark;
      else if (mark) out[i] = NaN;
    }
  }
  return new Field(down, across, out, { marks: outMarks });
}

/**
 * Cells as pixels.
 * @param {Field} field
 * @param {ColourScale} scale
 * @param {Colours} colours
 * @param {number} top
 * @param {number} left
 * @param {number} rows
 * @param {number} columns
 * @returns {HTMLCanvasElement}
 */
export function paintCells(field, scale, colours, top = 0, left = 0, rows = field.rows, columns = field.columns) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  const factor = 255 / (scale.high - scale.low);
  const offset = 0.5 - scale.low * factor;
  const { marks, data } = field;
  const lut = scale.palette.pixels;
  const { root } = scale;
  for (let r = 0, to = 0; r < rows; r++) {
    for (let i = (top + r) * field.columns + left, end = i + columns; i < end; i++, to++) {
      let mark = marks ? marks[i] : 0;
      const value = data[i];
      if (!mark && !Number.isFinite(value)) mark = value > 0 ? MARK.inf : value < 0 ? MARK.minusInf : MARK.nan;
      const index = root ? 255 * scale.share(value) + 0.5 : value * factor + offset;
      pixels[to] = mark ? colours.marks[mark] : lut[index >= 255 ? 255 : index > 0 ? index | 0 : 0];
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** A field in halves of halves, painted in tiles when they are seen. */
export class Pyramid {
  /**
   * @param {Field} field
   * @param {boolean} signed
   */
  constructor(field, signed) {
    this.field = field;
    this.signed = signed;
    this.levels = [field];
    /** @type {Map<string, HTMLCanvasElement>} */
    this.tiles = new Map();
    this.painted = "";
  }

  /**
   * @param {number} cellsPerPixel
   * @returns {{field: Field, down: number, across: number, name: number}} a level whose cells are a pixel at least
   */
  level(cellsPerPixel) {
    const { overview, rows, columns } = this.field;
    // The overview was made from all values, of which a sparse map has only the largest.
    if (overview && cellsPerPixel > 1.01) {
      let coarse = overview;
      let name = 100;
      while (Math.min(rows / coarse.rows, columns / coarse.columns) < cellsPerPixel * 0.99 && coarse.rows * coarse.columns > 4) {
        name++;
        this.levels[name] ??= halve(coarse, this.signed);
        coarse = this.levels[name];
      }
      if (rows / coarse.rows <= cellsPerPixel * 4) return { field: coarse, down: rows / coarse.rows, across: columns / coarse.columns, name };
    }
    let wanted = Math.max(0, Math.ceil(Math.log2(cellsPerPixel * 0.99)));
    wanted = Math.min(wanted, Math.ceil(Math.log2(Math.max(rows, columns, 1))));
    for (let l = 1; l <= wanted; l++) this.levels[l] ??= halve(this.levels[l - 1], this.signed);
    return { field: this.levels[wanted], down: 2 ** wanted, across: 2 ** wanted, name: wanted };
  }

  /**
   * Draw what lies inside of a box.
   * @param {Pen} pen
   * @param {{x: number, y: number, w: number, h: number}} box
   * @param {{x: number, y: number, cw: number, ch: number}} camera where cell (0, 0) lies, and a cell's size
   * @param {ColourScale} scale
   * @param {Colours} colours
   * @param {number} density device pixels for each CSS pixel
   */
  draw(pen, box, camera, scale, colours, density) {
    const style = `${scale.low}/${scale.high}/${scale.root}/${colours.dark}/${scale.palette.pixels[128]}`;
    if (style !== this.painted) {
      this.tiles.clear();
      this.painted = style;
    }
    const { field, down, across, name } = this.level(1 / (Math.min(camera.cw, camera.ch) * density));
    const cw = camera.cw * across;
    const ch = camera.ch * down;
    const right = Math.min(box.x + box.w, camera.x + this.field.columns * camera.cw);
    const bottom = Math.min(box.y + box.h, camera.y + this.field.rows * camera.ch);
    pen.clip(box.x, box.y, right - box.x, bottom - box.y, () => {
      for (let top = 0; top < field.rows; top += TILE_CELLS) {
        const y = camera.y + top * ch;
        const rows = Math.min(TILE_CELLS, field.rows - top);
        if (y > bottom || y + rows * ch < box.y) continue;
        for (let left = 0; left < field.columns; left += TILE_CELLS) {
          const x = camera.x + left * cw;
          const columns = Math.min(TILE_CELLS, field.columns - left);
          if (x > right || x + columns * cw < box.x) continue;
          const key = `${name}/${top}/${left}`;
          let tile = this.tiles.get(key);
          if (!tile) {
            tile = paintCells(field, scale, colours, top, left, rows, columns);
            this.tiles.set(key, tile);
          }
          // Only what is seen of a tile: a canvas of a million pixels wide would be slow, or refused.
          const sx = Math.max(0, Math.floor((box.x - x) / cw));
          const sy = Math.max(0, Math.floor((box.y - y) / ch));
          const sw = Math.min(columns, Math.ceil((right - x) / cw)) - sx;
          const sh = Math.min(rows, Math.ceil((bottom - y) / ch)) - sy;
          if (sw > 0 && sh > 0) pen.image(tile, x + sx * cw, y + sy * ch, sw * cw, sh * ch, false, { sx, sy, sw, sh });
        }
      }
    });
  }
}

import { drawBar } from "./bar.js";
import { MARK } from "./field.js";
import { focusOf } from "./look.js";
import { clamp, niceStep } from "./numbers.js";
import { cutText, textWidth, visibleText } from "./pen.js";
import { termsOf } from "./terms.js";
/** @import { Labels } from "./axes.js" */
/** @import { Box, Hit, Look } from "./look.js" */
/** @import { Pen } from "./pen.js" */
/** @import { Sheet } from "./scene.js" */

/** @typedef {{x: number, y: number, cw: number, ch: number}} Camera where cell (0, 0) lies, and a cell's size */

const BAR_WIDTH = 78;
const TITLE_HEIGHT = 20;
const FLAT_LABELS = 18;

/** @type {WeakMap<Labels, number>} */
const widest = new WeakMap();

/**
 * @param {Labels} labels
 * @returns {number} pixels of the widest label, when it is chosen
 */
function widestLabel(labels) {
  let width = widest.get(labels);
  if (width === undefined) {
    width = 0;
    const step = Math.max(1, Math.floor(labels.n / 300));
    for (let i = 0; i < labels.n; i += step) width = Math.max(width, textWidth(visibleText(labels.short(i)), 12, true));
    widest.set(labels, width);
  }
  return Math.ceil(width);
}

/**
 * How large the cells are, and what part of the map lies in the box.
 * @param {Box} room
 * @param {number} rows
 * @param {number} columns
 * @param {[number, number, number]|null} zoom
 * @returns {{camera: Camera, box: Box}} the box: the part of the room that the map fills
 */
export function cameraFor(room, rows, columns, zoom) {
  let cw = room.w / columns;
  let ch = room.h / rows;
  // Cells are square, unless a map is so flat that nothing would be seen.
  if (Math.max(cw / ch, ch / cw) < 4) cw = ch = Math.min(cw, ch);
  const [query, key, factor] = zoom ?? [rows / 2, columns / 2, 1];
  cw *= factor;
  ch *= factor;
  const w = Math.min(room.w, columns * cw);
  const h = Math.min(room.h, rows * ch);
  const left = room.x + (room.w - w) / 2;
  const x = clamp(left + w / 2 - key * cw, left + w - columns * cw, left);
  const y = clamp(room.y + h / 2 - query * ch, room.y + h - rows * ch, room.y);
  return { camera: { x, y, cw, ch }, box: { x: left, y: room.y, w, h } };
}

/** The map of one head: a cell for each query and key. Two side by side when compared. */
export class MapView {
  constructor() {
    /** @type {{camera: Camera, box: Box, room: Box, bar: Box, sheet: Sheet}[]} */
    this.panels = [];
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {number} w
   * @param {number} h
   */
  draw(pen, look, w, h) {
    this.panels = [];
    const { main, other } = look.scene;
    if (!other) {
      this.drawSheet(pen, look, main, { x: 0, y: 0, w, h }, look.scene.isDifference);
      return;
    }
    const wide = w > h * 1.1;
    const first = wide ? { x: 0, y: 0, w: w / 2 - 6, h } : { x: 0, y: 0, w, h: h / 2 - 6 };
    this.drawSheet(pen, look, main, first, true);
    this.drawSheet(pen, look, other, wide ? { ...first, x: w / 2 + 6 } : { ...first, y: h / 2 + 6 }, true);
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {Sheet} sheet
   * @param {Box} box
   * @param {boolean} titled
   */
  drawSheet(pen, look, sheet, box, titled) {
    const { colours, state } = look;
    const { rowLabels, columnLabels, shown } = sheet;
    const left = Math.max(64, Math.min(widestLabel(rowLabels) + 10, 130, box.w * 0.25));
    const wide = widestLabel(columnLabels);
    // Labels lie flat where each fits over its cell, and stand where one does not.
    /** @param {number} labelRoom */
    const under = (labelRoom) => {
      const top = (titled ? TITLE_HEIGHT : 0) + 18 + labelRoom;
      return { x: box.x + left, y: box.y + top, w: Math.max(20, box.w - left - BAR_WIDTH - 10), h: Math.max(20, box.h - top - 6) };
    };
    const size = cameraFor(under(FLAT_LABELS), shown.rows, shown.columns, state.zoom).camera.cw;
    const flat = wide + 4 < Math.max(size, columnLabels.hasWords || columnLabels.hasPatches ? 0 : 34);
    const labelRoom = flat ? FLAT_LABELS : Math.max(18, Math.min(wide + 10, 110, box.h * 0.25));
    const room = under(labelRoom);
    const { camera, box: seen } = cameraFor(room, shown.rows, shown.columns, state.zoom);
    if (titled) pen.text(sheet.title, box.x + 4, box.y + 9, { fill: colours.ink, size: 13, bold: true, width: box.w - 8 });
    pen.rect(seen.x, seen.y, seen.w, seen.h, colours.panel);
    sheet.pyramid.draw(pen, seen, camera, sheet.scale, colours, look.density);
    pen.clip(seen.x, seen.y, seen.w, seen.h, () => this.drawCells(pen, look, sheet, camera, seen));
    pen.frame(seen.x - 0.5, seen.y - 0.5, seen.w + 1, seen.h + 1, colours.rule);
    this.drawPromptEnd(pen, look, sheet, camera, seen);
    this.drawMarks(pen, look, sheet, camera, seen);
    this.drawLabels(pen, look, sheet, camera, seen, left, labelRoom, flat);
    const { query, key } = focusOf(state);
    const barBox = { x: seen.x + seen.w + 14, y: seen.y - 8, w: BAR_WIDTH, h: Math.max(140, Math.min(room.h, seen.h) + 16) };
    const bar = drawBar(pen, barBox, sheet.scale, colours, shown, shown.at(query, key));
    this.panels.push({ camera, box: seen, room, bar, sheet });
  }

  /**
   * Numbers and glyphs inside of cells that are large enough.
   * @param {Pen} pen
   * @param {Look} look
   * @param {Sheet} sheet
   * @param {Camera} camera
   * @param {Box} seen
   */
  drawCells(pen, { colours }, { shown, scale }, camera, seen) {
    const { cw, ch } = camera;
    if (Math.min(cw, ch) < 9) return;
    const firstQuery = Math.max(0, Math.floor((seen.y - camera.y) / ch));
    const lastQuery = Math.min(shown.rows - 1, Math.floor((seen.y + seen.h - camera.y) / ch));
    const firstKey = Math.max(0, Math.floor((seen.x - camera.x) / cw));
    const lastKey = Math.min(shown.columns - 1, Math.floor((seen.x + seen.w - camera.x) / cw));
    for (let q = firstQuery; q <= lastQuery; q++) {
      for (let k = firstKey; k <= lastKey; k++) {
        const x = camera.x + (k + 0.5) * cw;
        const y = camera.y + (q + 0.5) * ch;
        const mark = shown.mark(q, k);
        if (mark) {
          const glyph = ["", "N", "∞", "−∞", "×", "·", "–", ""][mark];
          const fill = mark <= MARK.inf ? (colours.dark ? "#000" : "#fff") : colours.dim;
          pen.text(cw > 34 && mark === MARK.nan ? "NaN" : glyph, x, y, { fill, size: Math.min(14, ch * 0.8), align: "center" });
          continue;
        }
        // Beyond the colours, which a reader may have narrowed: the number alone would look like the end of the scale.
        const beyond = scale.beyond(shown.number(q, k));
        if (beyond) pen.text(beyond > 0 ? "▴" : "▾", x + cw / 2 - 4, y - ch / 2 + 5, { fill: scale.palette.ink(beyond > 0 ? 1 : 0), size: 9, align: "center" });
        if (cw >= 24 && ch >= 12) {
          const value = shown.number(q, k);
          const size = cw >= 46 ? 12 : cw >= 30 ? 10 : 9;
          const text = Math.abs(value) < 0.0005 ? "0" : value.toFixed(Math.abs(value) >= 100 ? 0 : cw >= 46 ? 3 : 2);
          const tidy = text.replace(/^(-?)0\./, "$1.").replace("-", "−");
          pen.text(tidy, x, y, { fill: scale.palette.ink(scale.share(value)), size, align: "center", width: cw - 2 });
        }
      }
    }
  }

  /**
   * In a generation, lines between the tokens that were given and those that were generated.
   * @param {Pen} pen
   * @param {Look} look
   * @param {Sheet} sheet
   * @param {Camera} camera
   * @param {Box} seen
   */
  drawPromptEnd(pen, { colours }, { item }, camera, seen) {
    if (!item.given) return;
    const x = camera.x + item.given * camera.cw;
    const y = camera.y + item.given * camera.ch;
    // They begin among the labels, where the map's colours do not hide them.
    if (x > seen.x && x < seen.x + seen.w) pen.line(x, seen.y - 18, x, seen.y + seen.h, colours.found, 1.5);
    if (y > seen.y && y < seen.y + seen.h) pen.line(seen.x - 18, y, seen.x + seen.w, y, colours.found, 1.5);
  }

  /**
   * The row, the column and the cell that are looked at, and what was brushed.
   * @param {Pen} pen
   * @param {Look} look
   * @param {Sheet} sheet
   * @param {Camera} camera
   * @param {Box} seen
   */
  drawMarks(pen, { state, colours }, { shown }, camera, seen) {
    const { query, key } = focusOf(state);
    const { cw, ch } = camera;
    const x = camera.x + key * cw;
    const y = camera.y + query * ch;
    pen.clip(seen.x - 2, seen.y - 2, seen.w + 4, seen.h + 4, () => {
      if (state.lock || state.hoverQuery !== null) {
        if (query < shown.rows) pen.frame(seen.x - 1, y, seen.w + 2, ch, colours.query, 1.5);
        if (key < shown.columns) pen.frame(x, seen.y - 1, cw, seen.h + 2, colours.key, 1.5);
      }
      if (query < shown.rows && key < shown.columns) {
        const grow = Math.max(0, (7 - cw) / 2);
        pen.frame(x - grow, y - grow, cw + 2 * grow, ch + 2 * grow, "#000", 4);
        pen.frame(x - grow, y - grow, cw + 2 * grow, ch + 2 * grow, "#fff", 2);
      }
      if (state.brush) {
        const [q0, q1, k0, k1] = state.brush;
        const brush = { x: camera.x + k0 * cw, y: camera.y + q0 * ch, w: (k1 - k0 + 1) * cw, h: (q1 - q0 + 1) * ch };
        pen.frame(brush.x, brush.y, brush.w, brush.h, "#000", 4);
        pen.frame(brush.x, brush.y, brush.w, brush.h, "#ffe14d", 2);
      }
    });
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {Sheet} sheet
   * @param {Camera} camera
   * @param {Box} seen
   * @param {number} left room of the queries' labels
   * @param {number} above room of the keys' labels
   * @param {boolean} flat whether those lie flat
   */
  drawLabels(pen, look, sheet, camera, seen, left, above, flat) {
    const { rowLabels, columnLabels, shown } = sheet;
    const terms = termsOf(sheet);
    const { colours, state } = look;
    pen.text(`${terms.column} →`, seen.x, seen.y - above - 9, { fill: colours.key, size: 12, bold: true });
    pen.text(`${terms.row} ↓`, seen.x - 6, seen.y - above - 9, { fill: colours.query, size: 12, align: "right", bold: true });
    const named = focusOf(state);
    for (const down of [true, false]) {
      const labels = down ? rowLabels : columnLabels;
      const n = down ? shown.rows : shown.columns;
      const size = down ? camera.ch : camera.cw;
      const origin = down ? camera.y : camera.x;
      const from = down ? seen.y : seen.x;
      const to = down ? seen.y + seen.h : seen.x + seen.w;
      const first = Math.max(0, Math.floor((from - origin) / size));
      const last = Math.min(n - 1, Math.ceil((to - origin) / size));
      const step = size >= 11 ? 1 : niceStep(last - first + 1, (to - from) / (down ? 26 : 34));
      const found = down ? look.foundQueries : look.foundKeys;
      const chosen = down ? named.query : named.key;
      /** @param {number} i @param {boolean} strong */
      const label = (i, strong) => {
        const middle = origin + (i + 0.5) * size;
        if (middle < from - 1 || middle > to + 1) return;
        const hidden = !down && look.scene.hiddenKeys.has(i);
        const plain = visibleText(labels.short(i));
        const text = step > 1 && !strong && labels.parts.length === 1 && labels.parts[0].kind === "tokens" ? String(i) : plain;
        const room = down ? left - 8 : flat ? Math.max(30, size * step - 2) : above - 8;
        const shownText = cutText(text, 12, room);
        const colour = strong ? (down ? colours.query : colours.key) : found.has(i) ? colours.found : hidden ? colours.rule : colours.dim;
        const width = textWidth(shownText, 12, strong);
        if (strong) {
          // Readable over its neighbours.
          if (down) pen.rect(seen.x - 9 - width, middle - 8, width + 6, 16, colours.panel);
          else if (flat) pen.rect(middle - width / 2 - 2, seen.y - 18, width + 4, 15, colours.panel);
          else pen.rect(middle - 8, seen.y - 6 - width, 16, width + 3, colours.panel);
        }
        const style = { fill: colour, size: 12, bold: strong || found.has(i) };
        if (down) pen.text(shownText, seen.x - 6, middle, { ...style, align: "right" });
        else if (flat) pen.text(shownText, middle, seen.y - 10, { ...style, align: "center" });
        else pen.text(shownText, middle, seen.y - 5, { ...style, turn: -Math.PI / 2 });
      };
      for (let i = Math.ceil(first / step) * step; i <= last; i += step) {
        // The chosen label is read; the one that it would cover is not.
        if (i !== chosen && Math.abs(i - chosen) * size >= (down || !flat ? 13 : 26)) label(i, false);
        else if (i !== chosen && step === 1 && size >= 13) label(i, false);
      }
      for (const i of found) {
        const place = origin + (i + 0.5) * size;
        if (place < from || place > to) continue;
        if (down) pen.rect(seen.x - 5, place - Math.max(1, size / 2 - 1), 3, Math.max(2, size - 2), colours.found);
        else pen.rect(place - Math.max(1, size / 2 - 1), seen.y - 5, Math.max(2, size - 2), 3, colours.found);
      }
      if (chosen < n) label(chosen, true);
    }
  }

  /**
   * @param {number} x
   * @param {number} y
   * @returns {Hit|null}
   */
  hit(x, y) {
    for (const { camera, box, bar, sheet } of this.panels) {
      if (x >= bar.x - 4 && x <= bar.x + bar.w + 4 && y >= bar.y && y <= bar.y + bar.h) {
        return { scale: sheet.scale.value(1 - (y - bar.y) / bar.h) };
      }
      const inColumn = x >= box.x && x < box.x + box.w;
      const inRow = y >= box.y && y < box.y + box.h;
      const key = Math.floor((x - camera.x) / camera.cw);
      const query = Math.floor((y - camera.y) / camera.ch);
      if (inColumn && inRow) return { query, key };
      // The labels answer as well: a row from its query, a column from its key.
      if (inRow && x < box.x && x > box.x - 130) return { query };
      if (inColumn && y < box.y && y > box.y - 110) return { key };
    }
    return null;
  }

  /**
   * @param {number} x
   * @param {number} y
   * @param {number} by
   * @returns {[number, number, number]|null} the zoom that keeps the cell under the pointer
   */
  zoomAt(x, y, by) {
    const panel = this.panels.find(({ room }) => x >= room.x - 130 && x <= room.x + room.w && y >= room.y - 110 && y <= room.y + room.h) ?? this.panels[0];
    if (!panel) return null;
    const { camera, room, sheet } = panel;
    const { rows, columns } = sheet.shown;
    const base = cameraFor(room, rows, columns, null).camera;
    const largest = Math.max(8, Math.max(rows, columns) / 4);
    const factor = clamp((camera.cw / base.cw) * by, 1, largest);
    const key = (x - camera.x) / camera.cw;
    const query = (y - camera.y) / camera.ch;
    const after = { cw: base.cw * factor, ch: base.ch * factor };
    const h = Math.min(room.h, rows * after.ch);
    return [query - (y - room.y - h / 2) / after.ch, key - (x - room.x - room.w / 2) / after.cw, factor];
  }

  /**
   * @param {number} dx
   * @param {number} dy
   * @returns {[number, number, number]|null}
   */
  panBy(dx, dy) {
    const panel = this.panels[0];
    if (!panel) return null;
    const { camera, box, room, sheet } = panel;
    const base = cameraFor(room, sheet.shown.rows, sheet.shown.columns, null).camera;
    const query = (box.y + box.h / 2 - dy - camera.y) / camera.ch;
    const key = (box.x + box.w / 2 - dx - camera.x) / camera.cw;
    return [query, key, camera.cw / base.cw];
  }

  /** @returns {[number, number, number, number]|null} first and last query, first and last key that are seen */
  window() {
    const panel = this.panels[0];
    if (!panel) return null;
    const { camera, box, sheet } = panel;
    const { rows, columns } = sheet.shown;
    return [
      clamp(Math.floor((box.y - camera.y) / camera.ch + 1e-6), 0, rows - 1),
      clamp(Math.ceil((box.y + box.h - camera.y) / camera.ch - 1e-6) - 1, 0, rows - 1),
      clamp(Math.floor((box.x - camera.x) / camera.cw + 1e-6), 0, columns - 1),
      clamp(Math.ceil((box.x + box.w - camera.x) / camera.cw - 1e-6) - 1, 0, columns - 1),
    ];
  }
}

import { layOut, outline } from "./boxes.js";
import { leastOfShare } from "./change.js";
import { ColourScale, SEQUENTIAL } from "./colours.js";
import { focusOf } from "./look.js";
import { clamp, percent, shortNumber } from "./numbers.js";
import { textWidth, visibleText } from "./pen.js";
/** @import { Labels } from "./axes.js" */
/** @import { Palette } from "./colours.js" */
/** @import { Layout } from "./boxes.js" */
/** @import { Hit, Look } from "./look.js" */
/** @import { Pen } from "./pen.js" */

const PLACE_TOP = 44;
const PAD = 10;
const TITLE_SIZE = 13;
/** The header of a picture, and the row of its CLS token. */
const PICTURE_TOP = 90;

/**
 * @typedef {object} Panel
 * @property {Layout} layout
 * @property {number} x
 * @property {number} y
 * @property {number} w
 * @property {number} h
 * @property {"query"|"key"|"both"} answers
 * @property {number} scroll
 */

/**
 * @param {string} long
 * @param {string} short
 * @param {number} width
 * @returns {string} the long title where there is room
 */
function fitted(long, short, width) {
  return textWidth(long, TITLE_SIZE, true) <= width ? long : short;
}

/** Weights where the words and patches are: running text, shaded, and patches over their image. */
export class PlaceView {
  constructor() {
    /** @type {Panel[]} */
    this.panels = [];
    this.offsets = [0, 0];
    this.shown = ["", ""];
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {number} w
   * @param {number} h
   */
  draw(pen, look, w, h) {
    const { state, scene, colours } = look;
    const { main } = scene;
    let { query, key } = focusOf(state);
    const same = main.item.row_axis === main.item.column_axis && main.shown.rows === main.shown.columns;
    // With one axis for both, one place is looked at: its row and its column.
    if (same) query = key = state.hoverQuery ?? state.hoverKey ?? (state.lock === "key" ? state.key : state.query);
    const { rowLabels, columnLabels } = main;
    const row = main.shown.row(Math.min(query, main.shown.rows - 1));
    const column = main.shown.column(Math.min(key, main.shown.columns - 1));
    const looks = `${visibleText(rowLabels.long(query))} attends to`;
    const looked = `${visibleText(columnLabels.long(key))} is attended by`;
    this.panels = [];
    if (same && !rowLabels.hasPatches) {
      const own = main.shown.column(Math.min(query, main.shown.columns - 1));
      const half = w / 2 - PAD;
      const upper = this.scale(look, row);
      const lower = this.scale(look, own);
      this.header(pen, look, PAD, 0, half - PAD, half > 280 ? `Bar above: ${looks}` : "Above: attends to", upper, colours.query);
      this.header(pen, look, w / 2 + PAD, 0, half - PAD, half > 280 ? `Bar below: ${looked}` : "Below: is attended by", lower, colours.key);
      const panel = this.place(look, columnLabels, { x: PAD, y: PLACE_TOP + 6, w: w - 2 * PAD, h: h - PLACE_TOP - 8 }, "both", 0, query);
      pen.clip(0, panel.y, w, panel.h, () => {
        this.words(pen, look, panel, columnLabels, [row, own], [upper, lower]);
        this.rings(pen, look, panel, query);
      });
      return;
    }
    // Pictures lie as they are larger: their side in each case, with what is written above them.
    const pictured = rowLabels.hasPatches && columnLabels.hasPatches;
    const wide = w > 560 || (pictured ? Math.min(w / 2, h - PICTURE_TOP) >= Math.min(w, h / 2 - PICTURE_TOP) : w > h);
    const pw = wide ? w / 2 - 1.5 * PAD : w - 2 * PAD;
    const ph = wide ? h : h / 2;
    const spots = [
      { labels: columnLabels, values: row, chosen: same ? query : key, title: fitted(looks, `${visibleText(rowLabels.short(query))} attends to`, pw), colour: colours.query },
      { labels: rowLabels, values: column, chosen: query, title: fitted(looked, `${visibleText(columnLabels.short(key))} is attended by`, pw), colour: colours.key },
    ];
    spots.forEach((spot, i) => {
      const x = wide ? PAD + i * (pw + PAD) : PAD;
      const y = wide ? 0 : i * ph;
      const scale = this.scale(look, spot.values);
      this.header(pen, look, x, y, pw, spot.title, scale, spot.colour);
      const answers = same ? "both" : i ? "query" : "key";
      const panel = this.place(look, spot.labels, { x, y: y + PLACE_TOP + 6, w: pw, h: ph - PLACE_TOP - 8 }, answers, i, spot.chosen);
      pen.clip(x - 3, panel.y - 2, pw + 6, panel.h, () => {
        this.pictures(pen, look, panel);
        this.words(pen, look, panel, spot.labels, [spot.values], [scale]);
        if (state.contour > 0) this.contour(pen, look, panel, spot.labels, spot.values);
        this.rings(pen, look, panel, spot.chosen);
      });
    });
  }

  /**
   * One row's values are far below the largest of its head: they have a scale of their own, which is written above.
   * @param {Look} look
   * @param {Float32Array} values
   * @returns {ColourScale}
   */
  scale({ state, scene, colours }, values) {
    const { main } = scene;
    const palette = main.signed ? colours.diverging : colours.shade;
    if (state.range !== "head") return new ColourScale(main.scale.low, main.scale.high, palette, state.small);
    let high = 0;
    let low = 0;
    for (const value of values) {
      if (value > high) high = value;
      if (value < low) low = value;
    }
    if (main.signed) return new ColourScale(-Math.max(high, -low, 1e-12), Math.max(high, -low, 1e-12), palette, state.small);
    return new ColourScale(low, high || 1, palette, state.small);
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {number} x
   * @param {number} y
   * @param {number} w
   * @param {string} title
   * @param {ColourScale} scale
   * @param {string} colour
   */
  header(pen, { colours, scene }, x, y, w, title, scale, colour) {
    pen.text(title, x, y + 12, { fill: colour, size: TITLE_SIZE, bold: true, width: w });
    const pictured = scene.main.rowLabels.hasPatches || scene.main.columnLabels.hasPatches;
    const palette = this.paletteFor(scale, pictured);
    const low = shortNumber(scale.low);
    pen.text(low, x, y + 31, { fill: colours.dim, size: 11 });
    const from = x + 8 + low.length * 6.5;
    const wide = Math.max(40, Math.min(140, w - 100));
    for (let i = 0; i < 48; i++) pen.rect(from + (i * wide) / 48, y + 26, wide / 48 + 0.6, 10, palette.css((i + 0.5) / 48));
    pen.frame(from - 0.5, y + 25.5, wide + 1, 11, colours.rule);
    pen.text(shortNumber(scale.high), from + wide + 6, y + 31, { fill: colours.dim, size: 11 });
  }

  /**
   * @param {ColourScale} scale
   * @param {boolean} pictured over an image one hue is not seen: there the map's own colours serve
   * @returns {Palette}
   */
  paletteFor(scale, pictured) {
    return pictured && scale.low >= 0 ? SEQUENTIAL : scale.palette;
  }

  /**
   * @param {Look} look
   * @param {Labels} labels
   * @param {import("./look.js").Box} box
   * @param {"query"|"key"|"both"} answers
   * @param {number} index
   * @param {number} chosen
   * @returns {Panel}
   */
  place(look, labels, box, answers, index, chosen) {
    const layout = layOut(labels, look.pictures, box.w, box.h - 4);
    const { state } = look;
    // What the keyboard or another view has chosen must be in sight; the pointer only reaches what is.
    const now = `${labels.index}/${state.query}/${state.key}/${box.w}`;
    const at = layout.boxes[chosen];
    if (at && now !== this.shown[index] && state.hoverQuery === null && state.hoverKey === null) {
      const offset = this.offsets[index];
      if (at.y < offset || at.y + at.h > offset + box.h) this.offsets[index] = at.y - box.h / 2;
    }
    this.shown[index] = now;
    this.offsets[index] = clamp(this.offsets[index], 0, Math.max(0, layout.height - box.h));
    const panel = { ...box, layout, answers, scroll: this.offsets[index] };
    this.panels.push(panel);
    return panel;
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {Panel} panel
   */
  pictures(pen, { images, colours }, { layout, x, y, scroll }) {
    for (const picture of layout.pictures) {
      const image = picture.image === null ? null : images[picture.image];
      const top = y + picture.y - scroll;
      if (image?.complete && image.naturalWidth) pen.image(image, x + picture.x, top, picture.w, picture.h, picture.w < image.naturalWidth);
      else pen.rect(x + picture.x, top, picture.w, picture.h, colours.page);
    }
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {Panel} panel
   * @param {Labels} labels
   * @param {Float32Array[]} values one list, or the upper and the lower half's
   * @param {ColourScale[]} scales
   */
  words(pen, look, panel, labels, values, scales) {
    const { colours, scene } = look;
    const { layout, x, y, h, scroll, answers } = panel;
    const pictured = scene.main.rowLabels.hasPatches || scene.main.columnLabels.hasPatches;
    const found = answers === "query" ? look.foundQueries : look.foundKeys;
    layout.boxes.forEach((box, i) => {
      const left = x + box.x;
      const top = y + box.y - scroll;
      if (top > y + h || top + box.h < y) return;
      // Two lists are a bar above and a bar below the letters, which stay on the page's own ground.
      const half = values.length === 2 ? Math.round(box.h * 0.24) : box.h;
      let ink = colours.ink;
      values.forEach((list, part) => {
        const value = list[i];
        const hidden = !(value === value) || (answers !== "query" && scene.hiddenKeys.has(i));
        const palette = this.paletteFor(scales[part], pictured);
        const share = scales[part].share(value);
        if (box.kind === "patch") {
          const alpha = palette === SEQUENTIAL ? 0.45 + 0.35 * Math.min(1, Math.max(0, share)) : 0.1 + 0.75 * Math.abs(2 * share - 1);
          pen.rect(left, top, box.w + 0.3, box.h + 0.3, hidden ? colours.markCss[4] : palette.css(share), hidden ? 0.8 : alpha);
        } else {
          pen.rect(left, part ? top + box.h - half : top, box.w, half, hidden ? colours.panel : palette.css(share));
          if (!hidden && values.length === 1) ink = palette.ink(share);
        }
      });
      if (box.kind === "patch") return;
      pen.frame(left + 0.5, top + 0.5, box.w - 1, box.h - 1, found.has(i) ? colours.found : colours.rule, found.has(i) ? 2 : 1);
      const middle = top + box.h / 2;
      const text = visibleText(labels.short(i));
      pen.text(text, left + box.w / 2, middle, { fill: ink, size: layout.size, align: "center", width: box.w - 2 });
    });
  }

  /**
   * What was found, and what is looked at.
   * @param {Pen} pen
   * @param {Look} look
   * @param {Panel} panel
   * @param {number} chosen
   */
  rings(pen, look, panel, chosen) {
    const { colours } = look;
    const { answers } = panel;
    for (const i of answers === "query" ? look.foundQueries : look.foundKeys) this.ring(pen, panel, i, colours.found, 2);
    if (answers === "both") this.ring(pen, panel, chosen, colours.query, 3);
    else this.ring(pen, panel, chosen, answers === "query" ? colours.query : colours.key, 3);
  }

  /**
   * @param {Pen} pen
   * @param {Panel} panel
   * @param {number} i
   * @param {string} colour
   * @param {number} width
   */
  ring(pen, { layout, x, y, scroll }, i, colour, width) {
    const box = layout.boxes[i];
    if (!box) return;
    const top = y + box.y - scroll;
    if (box.kind === "patch") pen.frame(x + box.x, top, box.w, box.h, "#fff", width + 2);
    pen.frame(x + box.x, top, box.w, box.h, colour, width);
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {Panel} panel
   * @param {Labels} labels
   * @param {Float32Array} values
   */
  contour(pen, { state, colours }, { layout, x, y, h, scroll }, labels, values) {
    const sizes = values.map((value) => (value > 0 ? value : 0));
    const sum = sizes.reduce((a, b) => a + b, 0);
    const least = leastOfShare(sizes, state.contour * sum);
    const inside = new Set([...sizes.keys()].filter((i) => sizes[i] >= least && sizes[i] > 0));
    for (const [x1, y1, x2, y2] of outline(layout, inside, labels.across)) {
      pen.line(x + x1, y + y1 - scroll, x + x2, y + y2 - scroll, "#000", 4);
      pen.line(x + x1, y + y1 - scroll, x + x2, y + y2 - scroll, "#fff", 2);
    }
    const text = `outlined: ${percent(state.contour)} of the mass`;
    pen.text(text, x + 2, Math.min(y + h - 12, y + layout.height - scroll - 4), { fill: colours.dim, size: 11 });
  }

  /**
   * @param {number} x
   * @param {number} y
   * @returns {Hit|null}
   */
  hit(x, y) {
    for (const panel of this.panels) {
      if (x < panel.x || y < panel.y || x > panel.x + panel.w || y > panel.y + panel.h) continue;
      const [left, top] = [x - panel.x, y - panel.y + panel.scroll];
      const i = panel.layout.boxes.findIndex((box) => left >= box.x && left < box.x + box.w && top >= box.y && top < box.y + box.h);
      if (i < 0) return null;
      if (panel.answers === "both") return { query: i, key: i };
      return panel.answers === "query" ? { query: i } : { key: i };
    }
    return null;
  }

  /**
   * @param {Look} _look
   * @param {number} x
   * @param {number} y
   * @param {number} _dx
   * @param {number} dy
   * @returns {boolean}
   */
  scroll(_look, x, y, _dx, dy) {
    const index = this.panels.findIndex((panel) => x >= panel.x - PAD && x <= panel.x + panel.w + PAD && y >= panel.y - PLACE_TOP && y <= panel.y + panel.h);
    if (index < 0) return false;
    const { layout, h } = this.panels[index];
    const before = this.offsets[index];
    this.offsets[index] = clamp(before + dy, 0, Math.max(0, layout.height - h));
    return this.offsets[index] !== before;
  }
}

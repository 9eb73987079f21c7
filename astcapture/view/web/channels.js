import { drawBar } from "./bar.js";
import { SEQUENTIAL } from "./colours.js";
import { focusOf } from "./look.js";
/** @import { ColourScale } from "./colours.js" */
/** @import { Hit, Look } from "./look.js" */
/** @import { Pen } from "./pen.js" */

/** One channel of a feature map over the image that it was made from. */
export class ChannelView {
  constructor() {
    this.box = { x: 0, y: 0, w: 1, h: 1 };
    this.bar = { x: 0, y: 0, w: 0, h: 0 };
    this.rows = 1;
    this.columns = 1;
    /** @type {ColourScale|null} */
    this.scale = null;
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {number} w
   * @param {number} h
   */
  draw(pen, look, w, h) {
    const { scene, colours, state } = look;
    const { shown, scale, item } = scene.main;
    [this.rows, this.columns] = [shown.rows, shown.columns];
    this.scale = scale;
    const image = item.image === null || item.image === undefined ? null : look.images[item.image];
    const ready = image?.complete && image.naturalWidth > 0;
    const shape = ready ? image.naturalWidth / image.naturalHeight : shown.columns / shown.rows;
    const wide = Math.min(w - 110, (h - 20) * shape);
    const box = { x: 10, y: 10, w: wide, h: wide / shape };
    this.box = box;
    if (ready) pen.image(image, box.x, box.y, box.w, box.h, box.w < image.naturalWidth);
    const [cw, ch] = [box.w / shown.columns, box.h / shown.rows];
    for (let q = 0; q < shown.rows; q++) {
      for (let k = 0; k < shown.columns; k++) {
        const mark = shown.mark(q, k);
        const share = scale.share(shown.number(q, k));
        const alpha = !ready ? 1 : scale.palette === SEQUENTIAL ? 0.62 : 0.1 + 0.75 * Math.abs(2 * share - 1);
        pen.rect(box.x + k * cw, box.y + q * ch, cw + 0.3, ch + 0.3, mark ? colours.markCss[mark] : scale.palette.css(share), alpha);
      }
    }
    const { query, key } = focusOf(state);
    pen.frame(box.x + key * cw, box.y + query * ch, cw, ch, "#000", 4);
    pen.frame(box.x + key * cw, box.y + query * ch, cw, ch, "#fff", 2);
    this.bar = drawBar(pen, { x: box.x + box.w + 14, y: box.y - 8, w: 70, h: Math.max(140, box.h + 16) }, scale, colours, shown, shown.at(query, key));
  }

  /**
   * @param {number} x
   * @param {number} y
   * @returns {Hit|null}
   */
  hit(x, y) {
    const { box, bar } = this;
    if (x >= bar.x - 4 && x <= bar.x + bar.w + 4 && y >= bar.y && y <= bar.y + bar.h) {
      return { scale: this.scale?.value(1 - (y - bar.y) / bar.h) };
    }
    if (x < box.x || y < box.y || x >= box.x + box.w || y >= box.y + box.h) return null;
    return { query: Math.floor(((y - box.y) / box.h) * this.rows), key: Math.floor(((x - box.x) / box.w) * this.columns) };
  }
}

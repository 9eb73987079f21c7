import { clamp, niceStep, shortNumber } from "./numbers.js";
import { focusOf } from "./look.js";
import { visibleText } from "./pen.js";
/** @import { Hit, Look } from "./look.js" */
/** @import { Pen } from "./pen.js" */

/** A value of one axis: a bar for each place. */
export class StripView {
  constructor() {
    this.box = { x: 0, y: 0, w: 1, h: 1 };
    this.first = 0;
    this.width = 1;
    this.n = 0;
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   * @param {number} w
   * @param {number} h
   */
  draw(pen, look, w, h) {
    const { state, scene, colours } = look;
    const { shown, scale, columnLabels } = scene.main;
    this.n = shown.columns;
    const box = { x: 64, y: 16, w: w - 76, h: Math.max(60, Math.min(h - 80, 420)) };
    const [, key, factor] = state.zoom ?? [0, this.n / 2, 1];
    this.width = (box.w / this.n) * factor;
    const seen = box.w / this.width;
    this.first = clamp(key - seen / 2, 0, this.n - seen);
    this.box = box;
    const low = Math.min(0, scale.low);
    const high = Math.max(0, scale.high);
    /** @param {number} value @returns {number} */
    const y = (value) => box.y + box.h * (1 - (value - low) / (high - low || 1));
    for (let i = 0; i <= 4; i++) {
      const value = low + ((high - low) * i) / 4;
      pen.line(box.x, y(value), box.x + box.w, y(value), colours.rule, 1, 0.7);
      pen.text(shortNumber(value), box.x - 8, y(value), { fill: colours.dim, size: 11, align: "right" });
    }
    const chosen = focusOf(state).key;
    const from = Math.max(0, Math.floor(this.first));
    const to = Math.min(this.n - 1, Math.ceil(this.first + seen));
    pen.clip(box.x, box.y - 4, box.w, box.h + 8, () => {
      // Where bars are thinner than a pixel, each pixel shows the largest and the smallest of its own.
      const group = Math.max(1, Math.ceil(1 / this.width));
      for (let i = from; i <= to; i += group) {
        let [least, most] = [0, 0];
        for (let j = i; j < Math.min(this.n, i + group); j++) {
          const value = shown.number(0, j);
          if (value > most) most = value;
          if (value < least) least = value;
        }
        const x = box.x + (i - this.first) * this.width;
        const wide = Math.max(1, this.width * group - (this.width > 4 ? 1 : 0));
        const colour = i <= chosen && chosen < i + group ? colours.query : most >= -least ? colours.heads[0] : colours.heads[1];
        pen.rect(x, y(most), wide, Math.max(1, y(least) - y(most)), colour);
      }
    });
    const step = niceStep(to - from + 1, box.w / 60);
    for (let i = Math.ceil(from / step) * step; i <= to; i += step) {
      const x = box.x + (i + 0.5 - this.first) * this.width;
      pen.text(visibleText(columnLabels.short(i)), x, box.y + box.h + 16, { fill: colours.dim, size: 11, align: "center", width: 58 });
    }
    pen.text("place →", box.x, box.y + box.h + 36, { fill: colours.dim, size: 12 });
  }

  /**
   * @param {number} x
   * @param {number} y
   * @returns {Hit|null}
   */
  hit(x, y) {
    const { box } = this;
    if (x < box.x || x > box.x + box.w || y < 0 || y > box.y + box.h + 30) return null;
    return { query: 0, key: clamp(Math.floor(this.first + (x - box.x) / this.width), 0, this.n - 1) };
  }

  /**
   * @param {number} x
   * @param {number} _y
   * @param {number} by
   * @returns {[number, number, number]}
   */
  zoomAt(x, _y, by) {
    const { box } = this;
    const factor = Math.max(1, (this.width * this.n * by) / box.w);
    const under = this.first + (x - box.x) / this.width;
    const width = (box.w * factor) / this.n;
    return [0, under - (x - box.x) / width + box.w / width / 2, factor];
  }

  /**
   * @param {number} dx
   * @returns {[number, number, number]}
   */
  panBy(dx) {
    return [0, this.first - dx / this.width + this.box.w / this.width / 2, (this.width * this.n) / this.box.w];
  }
}

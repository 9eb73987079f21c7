import { MARK } from "./field.js";
import { shortNumber } from "./numbers.js";
/** @import { ColourScale, Colours } from "./colours.js" */
/** @import { Field } from "./field.js" */
/** @import { Box } from "./look.js" */
/** @import { Pen } from "./pen.js" */

/** Of each of MARK, as short as its place is. */
const SHORT_NAMES = ["", "NaN", "infinite", "−infinite", "masked", "left out", "hidden", "below"];

/** @type {WeakMap<Field, number[]>} */
const marksOf = new WeakMap();

/**
 * @param {Field} field
 * @returns {number[]} which of MARK occur
 */
export function marksIn(field) {
  let found = marksOf.get(field);
  if (!found) {
    const seen = new Uint8Array(8);
    const { marks, data } = field;
    if (marks) for (let i = 0; i < marks.length; i++) seen[marks[i]] = 1;
    for (let i = 0; i < data.length; i++) {
      const value = data[i];
      if (!Number.isFinite(value) && !marks?.[i]) seen[value > 0 ? MARK.inf : value < 0 ? MARK.minusInf : MARK.nan] = 1;
    }
    found = [...seen.keys()].filter((mark) => mark && seen[mark]);
    marksOf.set(field, found);
  }
  return found;
}

/**
 * A standing colour bar with numbers, and below it what has no number.
 * @param {Pen} pen
 * @param {Box} box
 * @param {ColourScale} scale
 * @param {Colours} colours
 * @param {Field} field
 * @param {number|null} value marked on the bar
 * @returns {Box} the bar itself, which answers clicks
 */
export function drawBar(pen, box, scale, colours, field, value) {
  const marks = marksIn(field);
  const bar = { x: box.x, y: box.y + 8, w: 14, h: Math.max(40, box.h - 20 - marks.length * 16) };
  for (let i = 0; i < 64; i++) {
    const y = bar.y + bar.h - ((i + 1) * bar.h) / 64;
    pen.rect(bar.x, y, bar.w, bar.h / 64 + 0.6, scale.palette.css((i + 0.5) / 64));
  }
  pen.frame(bar.x - 0.5, bar.y - 0.5, bar.w + 1, bar.h + 1, colours.rule);
  const ticks = bar.h > 150 ? 5 : 3;
  for (let i = 0; i < ticks; i++) {
    const share = i / (ticks - 1);
    const y = bar.y + bar.h * (1 - share);
    pen.line(bar.x + bar.w, y, bar.x + bar.w + 3, y, colours.dim);
    pen.text(shortNumber(scale.value(share)), bar.x + bar.w + 6, y, { fill: colours.dim, size: 11 });
  }
  if (value !== null && Number.isFinite(value)) {
    const y = bar.y + bar.h * (1 - Math.max(0, Math.min(1, scale.share(value))));
    pen.rect(bar.x - 4, y - 1.5, bar.w + 8, 3, colours.panel);
    pen.rect(bar.x - 3, y - 1, bar.w + 6, 2, colours.ink);
  }
  const [low, high] = field.extent();
  if (scale.beyond(high) > 0) pen.text("▴ clipped", bar.x, bar.y - 10, { fill: colours.dim, size: 10 });
  if (scale.beyond(low) < 0) pen.text("▾ clipped", bar.x, bar.y + bar.h + 10, { fill: colours.dim, size: 10 });
  marks.forEach((mark, i) => {
    const y = bar.y + bar.h + 18 + i * 16 + (scale.beyond(low) < 0 ? 8 : 0);
    pen.rect(bar.x, y - 5, 10, 10, colours.markCss[mark]);
    pen.frame(bar.x + 0.5, y - 4.5, 9, 9, colours.dim);
    pen.text(SHORT_NAMES[mark], bar.x + 14, y, {
      fill: colours.dim,
      size: 11,
    });
  });
  return bar;
}

import { textWidth, visibleText } from "./pen.js";
/** @import { Labels } from "./axes.js" */
/** @import { Box } from "./look.js" */
/** @import { Picture } from "./types.js" */

/**
 * Where each position of an axis lies: words as running text, patches over their image.
 * @typedef {object} Layout
 * @property {(Box & {kind: "word"|"patch"|"cell"})[]} boxes
 * @property {(Box & {image: number|null})[]} pictures
 * @property {number} height
 * @property {number} size of the letters
 */

/** @type {Map<string, Layout>} */
const layouts = new Map();

/**
 * @param {Labels} labels
 * @param {Picture[]} pictures
 * @param {number} width
 * @param {number} tall how high an image may be
 * @returns {Layout}
 */
export function layOut(labels, pictures, width, tall) {
  const name = `${labels.index}/${labels.n}/${Math.round(width)}/${Math.round(tall)}`;
  let layout = layouts.get(name);
  if (!layout) {
    layout = makeLayout(labels, pictures, width, tall);
    if (layouts.size > 20) layouts.clear();
    layouts.set(name, layout);
  }
  return layout;
}

/** @type {typeof layOut} */
function makeLayout(labels, pictures, width, tall) {
  // A short text may be large; a long one is to be seen at once.
  const size = labels.hasWords && !labels.hasPatches && labels.n <= 90 ? 19 : 14;
  /** @type {Layout} */
  const layout = { boxes: [], pictures: [], height: 0, size };
  const high = Math.round(size * 2);
  const backwards = labels.rightToLeft;
  let top = 0;
  for (const part of labels.parts) {
    let x = 0;
    /** @param {number} i @param {"word"|"cell"} kind */
    const flow = (i, kind) => {
      const text = visibleText(labels.short(i));
      const w = Math.min(width, Math.max(kind === "cell" ? 24 : 12, textWidth(text, size) + 7));
      if (x > 0 && x + w > width) {
        x = 0;
        top += high + 8;
      }
      layout.boxes[i] = { x: backwards ? width - x - w : x, y: top, w, h: high, kind };
      x += w + (kind === "cell" ? 4 : 2);
      if (kind === "word" && /[↵⏎Ċ\n]/.test(text) && i < part.start + part.n - 1) {
        x = 0;
        top += high + 8;
      }
    };
    const { axis } = part;
    if (axis.kind === "patches") {
      const prefix = Math.min(axis.prefix, part.n);
      for (let i = 0; i < prefix; i++) flow(part.start + i, "cell");
      if (prefix) top += high + 10;
      const picture = axis.image === null || axis.image === undefined ? null : pictures[axis.image];
      const shape = picture ? picture.width / picture.height : axis.columns / axis.rows;
      const w = Math.min(width, Math.max(60, tall - top) * shape);
      const h = w / shape;
      layout.pictures.push({ x: 0, y: top, w, h, image: picture ? (axis.image ?? null) : null });
      for (let i = prefix; i < part.n; i++) {
        const row = Math.floor((i - prefix) / axis.columns);
        const column = (i - prefix) % axis.columns;
        const cw = w / axis.columns;
        const ch = h / axis.rows;
        layout.boxes[part.start + i] = { x: column * cw, y: top + row * ch, w: cw, h: ch, kind: "patch" };
      }
      top += h + 14;
    } else {
      for (let i = 0; i < part.n; i++) flow(part.start + i, axis.kind === "tokens" ? "word" : "cell");
      top += high + 14;
    }
  }
  layout.height = top;
  return layout;
}

/**
 * The sides of patches where a set of them ends.
 * @param {Layout} layout
 * @param {ReadonlySet<number>} inside
 * @param {number} across patches of one row
 * @returns {[number, number, number, number][]} lines: x1, y1, x2, y2
 */
export function outline(layout, inside, across) {
  /** @type {[number, number, number, number][]} */
  const lines = [];
  const first = layout.boxes.findIndex((box) => box?.kind === "patch");
  for (const i of inside) {
    const box = layout.boxes[i];
    if (box?.kind !== "patch") continue;
    const column = (i - first) % across;
    const { x, y, w, h } = box;
    if (!inside.has(i - across) || i - across < first) lines.push([x, y, x + w, y]);
    if (!inside.has(i + across)) lines.push([x, y + h, x + w, y + h]);
    if (column === 0 || !inside.has(i - 1)) lines.push([x, y, x, y + h]);
    if (column === across - 1 || !inside.has(i + 1)) lines.push([x + w, y, x + w, y + h]);
  }
  return lines;
}

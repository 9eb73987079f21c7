import { CanvasPen, SvgPen, visibleText } from "./pen.js";
/** @import { Book } from "./book.js" */
/** @import { Look } from "./look.js" */
/** @import { Stage } from "./stage.js" */

/**
 * @param {Blob} blob
 * @param {string} name
 */
function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/**
 * @param {Look} look
 * @param {string} ending
 * @returns {string}
 */
function fileName({ scene, state }, ending) {
  const { series, item } = scene.main;
  const head = typeof state.head === "number" ? `head${state.head}` : `${state.head}`;
  const name = `${series.name}-${series.label}-${series.layers[item.layer]}-${head}-call${item.call}`;
  return `${name.replace(/[^\p{L}\p{N}._-]+/gu, "_").slice(0, 120)}.${ending}`;
}

/**
 * @param {Stage} stage
 * @param {Look} look
 * @returns {string}
 */
export function svgOf(stage, look) {
  const pen = new SvgPen();
  pen.rect(0, 0, stage.size.w, stage.size.h, look.colours.panel);
  stage.paint(pen, { ...look, density: 2 });
  return pen.svg(stage.size.w, stage.size.h);
}

/**
 * @param {string} text
 * @returns {string}
 */
function quoted(text) {
  return `"${text.replaceAll('"', '""')}"`;
}

/**
 * A row for each query in sight and a column for each key, as in the view. Labels begin with their number, so that no
 * spreadsheet takes a token such as "=1+1" for a formula. Cells without a number are empty.
 * @param {Look} look
 * @param {[number, number, number, number]|null} seen
 * @returns {string}
 */
export function csvOf({ scene }, seen) {
  const { shown, rowLabels, columnLabels } = scene.main;
  const [q0, q1, k0, k1] = seen ?? [0, shown.rows - 1, 0, shown.columns - 1];
  /** @param {import("./axes.js").Labels} labels @param {number} i @returns {string} */
  const label = (labels, i) => quoted(labels.short(i) === String(i) ? String(i) : `${i} ${visibleText(labels.short(i))}`);
  const keys = [];
  for (let k = k0; k <= k1; k++) keys.push(label(columnLabels, k));
  const lines = [`${quoted("query \\ key")},${keys.join(",")}`];
  for (let q = q0; q <= q1; q++) {
    const cells = [label(rowLabels, q)];
    for (let k = k0; k <= k1; k++) {
      const value = shown.at(q, k);
      cells.push(value === null ? "" : String(Number(value.toPrecision(7))));
    }
    lines.push(cells.join(","));
  }
  return `${lines.join("\r\n")}\r\n`;
}

/**
 * @param {"png"|"svg"|"csv"} kind
 * @param {Stage} stage
 * @param {Look} look
 */
export function save(kind, stage, look) {
  if (kind === "csv") {
    const seen = stage.view() === stage.map ? stage.map.window() : null;
    download(new Blob([csvOf(look, seen)], { type: "text/csv" }), fileName(look, kind));
    return;
  }
  if (kind === "svg") {
    download(new Blob([svgOf(stage, look)], { type: "image/svg+xml" }), fileName(look, kind));
    return;
  }
  const canvas = document.createElement("canvas");
  canvas.width = stage.size.w * 2;
  canvas.height = stage.size.h * 2;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(2, 0, 0, 2, 0, 0);
  context.fillStyle = look.colours.panel;
  context.fillRect(0, 0, stage.size.w, stage.size.h);
  stage.paint(new CanvasPen(context), { ...look, density: 2 });
  canvas.toBlob((blob) => blob && download(blob, fileName(look, kind)));
}

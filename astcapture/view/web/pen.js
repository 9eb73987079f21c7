/**
 * What every view is drawn with, so that the screen, a PNG and an SVG show the same.
 *
 * @typedef {object} TextStyle
 * @property {string} [fill]
 * @property {number} [size]
 * @property {"left"|"right"|"center"} [align]
 * @property {number} [turn] radians
 * @property {number} [width] longer text is cut, and ends in "…"
 * @property {boolean} [bold]
 *
 * @typedef {{sx: number, sy: number, sw: number, sh: number}} Source
 */

const FAMILY = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif';

/** @type {CanvasRenderingContext2D|null} */
let measuring = null;
/** @type {Map<string, number>} */
const widths = new Map();

/**
 * @param {string} text
 * @param {number} size
 * @param {boolean} [bold]
 * @returns {number}
 */
export function textWidth(text, size, bold = false) {
  const name = `${bold ? "b" : ""}${size} ${text}`;
  let width = widths.get(name);
  if (width === undefined) {
    measuring ??= document.createElement("canvas").getContext("2d");
    if (!measuring) return text.length * size * 0.6;
    measuring.font = `${bold ? "600 " : ""}${size}px ${FAMILY}`;
    width = measuring.measureText(text).width;
    if (widths.size > 20000) widths.clear();
    widths.set(name, width);
  }
  return width;
}

/**
 * @param {string} text
 * @param {number} size
 * @param {number} width
 * @param {boolean} [bold]
 * @returns {string} cut, with "…", to fit
 */
export function cutText(text, size, width, bold = false) {
  if (textWidth(text, size, bold) <= width) return text;
  const letters = [...text];
  let low = 0;
  let high = letters.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (textWidth(`${letters.slice(0, middle).join("")}…`, size, bold) <= width) low = middle;
    else high = middle - 1;
  }
  return low ? `${letters.slice(0, low).join("")}…` : "";
}

/**
 * Control characters and direction overrides would disturb the text around them.
 * @param {string} text
 * @returns {string}
 */
export function visibleText(text) {
  return text.replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, (c) => {
    const code = c.charCodeAt(0);
    return code < 32 ? String.fromCharCode(0x2400 + code) : "·";
  });
}

/** Draws on a canvas. */
export class CanvasPen {
  /** @param {CanvasRenderingContext2D} context */
  constructor(context) {
    this.context = context;
  }

  /** @param {number} x @param {number} y @param {number} w @param {number} h @param {string} fill @param {number} [alpha] */
  rect(x, y, w, h, fill, alpha = 1) {
    this.context.globalAlpha = alpha;
    this.context.fillStyle = fill;
    this.context.fillRect(x, y, w, h);
    this.context.globalAlpha = 1;
  }

  /** @param {number} x @param {number} y @param {number} w @param {number} h @param {string} stroke @param {number} [width] */
  frame(x, y, w, h, stroke, width = 1) {
    this.context.strokeStyle = stroke;
    this.context.lineWidth = width;
    this.context.strokeRect(x, y, w, h);
  }

  /** @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 @param {string} stroke @param {number} [width] @param {number} [alpha] */
  line(x1, y1, x2, y2, stroke, width = 1, alpha = 1) {
    const { context } = this;
    context.globalAlpha = alpha;
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
    context.stroke();
    context.globalAlpha = 1;
  }

  /** @param {number} x @param {number} y @param {number} r @param {string} fill @param {string} [stroke] */
  dot(x, y, r, fill, stroke) {
    const { context } = this;
    context.fillStyle = fill;
    context.beginPath();
    context.arc(x, y, r, 0, 7);
    context.fill();
    if (!stroke) return;
    context.strokeStyle = stroke;
    context.lineWidth = 2;
    context.stroke();
  }

  /** @param {string} text @param {number} x @param {number} y middle of the letters @param {TextStyle} [style] */
  text(text, x, y, { fill = "#000", size = 12, align = "left", turn = 0, width = Infinity, bold = false } = {}) {
    const { context } = this;
    context.font = `${bold ? "600 " : ""}${size}px ${FAMILY}`;
    context.fillStyle = fill;
    context.textAlign = align;
    context.textBaseline = "middle";
    const shown = width === Infinity ? text : cutText(text, size, width, bold);
    if (!turn) {
      context.fillText(shown, x, y);
      return;
    }
    context.save();
    context.translate(x, y);
    context.rotate(turn);
    context.fillText(shown, 0, 0);
    context.restore();
  }

  /** @param {CanvasImageSource} image @param {number} x @param {number} y @param {number} w @param {number} h @param {boolean} smooth @param {Source} [source] */
  image(image, x, y, w, h, smooth, source) {
    this.context.imageSmoothingEnabled = smooth;
    if (source) this.context.drawImage(image, source.sx, source.sy, source.sw, source.sh, x, y, w, h);
    else this.context.drawImage(image, x, y, w, h);
  }

  /** @param {number} x @param {number} y @param {number} w @param {number} h @param {() => void} inside */
  clip(x, y, w, h, inside) {
    const { context } = this;
    context.save();
    context.beginPath();
    context.rect(x, y, w, h);
    context.clip();
    inside();
    context.restore();
  }
}

/**
 * @param {string} text
 * @returns {string}
 */
export function escapeXml(text) {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "�");
}

/** @param {number} value @returns {string} */
function hundredths(value) {
  return String(Math.round(value * 100) / 100);
}

/** Writes an SVG. */
export class SvgPen {
  constructor() {
    /** @type {string[]} */
    this.parts = [];
    this.clips = 0;
  }

  /** @type {CanvasPen["rect"]} */
  rect(x, y, w, h, fill, alpha = 1) {
    const faint = alpha === 1 ? "" : ` opacity="${hundredths(alpha)}"`;
    this.parts.push(`<rect x="${hundredths(x)}" y="${hundredths(y)}" width="${hundredths(w)}" height="${hundredths(h)}" fill="${fill}"${faint}/>`);
  }

  /** @type {CanvasPen["frame"]} */
  frame(x, y, w, h, stroke, width = 1) {
    this.parts.push(
      `<rect x="${hundredths(x)}" y="${hundredths(y)}" width="${hundredths(w)}" height="${hundredths(h)}" fill="none" stroke="${stroke}" stroke-width="${width}"/>`,
    );
  }

  /** @type {CanvasPen["line"]} */
  line(x1, y1, x2, y2, stroke, width = 1, alpha = 1) {
    this.parts.push(
      `<line x1="${hundredths(x1)}" y1="${hundredths(y1)}" x2="${hundredths(x2)}" y2="${hundredths(y2)}" stroke="${stroke}" stroke-width="${hundredths(width)}" opacity="${hundredths(alpha)}"/>`,
    );
  }

  /** @type {CanvasPen["dot"]} */
  dot(x, y, r, fill, stroke) {
    const edge = stroke ? ` stroke="${stroke}" stroke-width="2"` : "";
    this.parts.push(`<circle cx="${hundredths(x)}" cy="${hundredths(y)}" r="${r}" fill="${fill}"${edge}/>`);
  }

  /** @type {CanvasPen["text"]} */
  text(text, x, y, { fill = "#000", size = 12, align = "left", turn = 0, width = Infinity, bold = false } = {}) {
    const shown = width === Infinity ? text : cutText(text, size, width, bold);
    const anchor = { left: "start", right: "end", center: "middle" }[align];
    const turned = turn ? ` transform="rotate(${hundredths((turn * 180) / Math.PI)} ${hundredths(x)} ${hundredths(y)})"` : "";
    this.parts.push(
      `<text x="${hundredths(x)}" y="${hundredths(y)}" font-size="${size}"${bold ? ' font-weight="600"' : ""} fill="${fill}" text-anchor="${anchor}" dominant-baseline="central"${turned}>${escapeXml(shown)}</text>`,
    );
  }

  /** @type {CanvasPen["image"]} */
  image(image, x, y, w, h, smooth, source) {
    const canvas = document.createElement("canvas");
    const whole = /** @type {HTMLCanvasElement|HTMLImageElement} */ (image);
    const { sx, sy, sw, sh } = source ?? { sx: 0, sy: 0, sw: whole.width, sh: whole.height };
    const left = Math.max(0, Math.floor(sx));
    const top = Math.max(0, Math.floor(sy));
    canvas.width = Math.max(1, Math.min(whole.width, Math.ceil(sx + sw)) - left);
    canvas.height = Math.max(1, Math.min(whole.height, Math.ceil(sy + sh)) - top);
    canvas.getContext("2d")?.drawImage(image, -left, -top);
    // Whole pixels are written, and lie where they lay: what is cut off is cut off by the clip.
    const fx = w / sw;
    const fy = h / sh;
    this.parts.push(
      `<image x="${hundredths(x + (left - sx) * fx)}" y="${hundredths(y + (top - sy) * fy)}" width="${hundredths(canvas.width * fx)}" height="${hundredths(canvas.height * fy)}" preserveAspectRatio="none"${smooth ? "" : ' style="image-rendering:pixelated"'} href="${canvas.toDataURL()}"/>`,
    );
  }

  /** @type {CanvasPen["clip"]} */
  clip(x, y, w, h, inside) {
    const name = `clip${this.clips++}`;
    this.parts.push(
      `<clipPath id="${name}"><rect x="${hundredths(x)}" y="${hundredths(y)}" width="${hundredths(w)}" height="${hundredths(h)}"/></clipPath><g clip-path="url(#${name})">`,
    );
    inside();
    this.parts.push("</g>");
  }

  /**
   * @param {number} width
   * @param {number} height
   * @returns {string}
   */
  svg(width, height) {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${escapeXml(FAMILY)}">${this.parts.join("\n")}</svg>\n`;
  }
}

/** @typedef {CanvasPen|SvgPen} Pen */

import { MARK } from "./field.js";

/** Anchors of viridis, which keeps its order in grey and for the colour-blind. */
const VIRIDIS = "440154 481a6c 472f7d 414487 39568c 31688e 2a788e 23888e 1f988b 22a884 35b779 54c568 7ad151 a5db36 d2e21b fde725";

/** Okabe and Ito's colours, in an order that begins with those that are seen on both grounds. */
export const HEAD_COLOURS = {
  light: ["#0072b2", "#c44e00", "#007a5a", "#a8438a", "#8a6d00", "#1f86c0", "#5b4fc9", "#555555"],
  dark: ["#56b4e9", "#e69f00", "#2fc79a", "#e391c4", "#f0e442", "#7fa7ff", "#ff8a5c", "#cccccc"],
};

/**
 * @param {string} hex "rrggbb", with or without "#"
 * @returns {[number, number, number]}
 */
function parts(hex) {
  const number = parseInt(hex.replace("#", ""), 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}

/** 256 colours, as pixels and as CSS. */
export class Palette {
  /** @param {string[]} anchors evenly spaced */
  constructor(anchors) {
    const colours = anchors.map(parts);
    /** @type {[number, number, number][]} */
    this.rgb = [];
    this.pixels = new Uint32Array(256);
    for (let i = 0; i < 256; i++) {
      const place = (i / 255) * (colours.length - 1);
      const left = Math.min(colours.length - 2, Math.floor(place));
      const [a, b] = [colours[left], colours[left + 1]];
      /** @param {0|1|2} c @returns {number} */
      const mix = (c) => Math.round(a[c] + (b[c] - a[c]) * (place - left));
      this.rgb.push([mix(0), mix(1), mix(2)]);
      this.pixels[i] = pixel(...this.rgb[i]);
    }
  }

  /**
   * @param {number} share 0 to 1
   * @returns {string}
   */
  css(share) {
    return `rgb(${this.rgb[this.index(share)].join(",")})`;
  }

  /**
   * @param {number} share
   * @returns {string} black or white, whichever is read better on the colour
   */
  ink(share) {
    return luminance(this.rgb[this.index(share)]) > 0.18 ? "#000" : "#fff";
  }

  /**
   * @param {number} share
   * @returns {number}
   */
  index(share) {
    return share > 0 ? Math.min(255, Math.round(share * 255)) : 0;
  }
}

/**
 * @param {[number, number, number]} rgb
 * @returns {number} relative luminance, as WCAG defines it
 */
function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => (c <= 10 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/**
 * @param {number} r
 * @param {number} g
 * @param {number} b
 * @param {number} [a]
 * @returns {number} as it lies in ImageData on a little-endian machine
 */
function pixel(r, g, b, a = 255) {
  return ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

export const SEQUENTIAL = new Palette(VIRIDIS.split(" "));

/**
 * @typedef {object} Colours of one theme, for what is drawn
 * @property {boolean} dark
 * @property {string} page
 * @property {string} panel
 * @property {string} ink
 * @property {string} dim
 * @property {string} rule
 * @property {string} query
 * @property {string} key
 * @property {string} found
 * @property {string[]} heads
 * @property {Palette} diverging blue is negative, orange positive, zero the ground
 * @property {Palette} shade behind words: from the ground to one hue
 * @property {Uint32Array} marks a pixel for each of MARK
 * @property {string[]} markCss
 */

/**
 * @param {boolean} dark
 * @returns {Colours}
 */
export function themeColours(dark) {
  const panel = dark ? "#1c2029" : "#ffffff";
  // NaN and infinity must not be overlooked. Masks are often minus infinity, over half of a map: they stay
  // quiet. What was left out is small: near to the lowest colour, and not it.
  const markCss = dark
    ? ["#000000", "#ff3d9a", "#ff7043", "#3a3650", "#2b303b", "#2e2338", "#3d3547", panel]
    : ["#000000", "#d6006c", "#d84315", "#dedbea", "#e4e6ea", "#d9d0e0", "#eadff0", panel];
  const marks = new Uint32Array(markCss.map((css) => pixel(...parts(css))));
  marks[MARK.below] = 0;
  return {
    dark,
    page: dark ? "#12151b" : "#f5f6f8",
    panel,
    ink: dark ? "#e8eaf0" : "#1a1d24",
    dim: dark ? "#a4abba" : "#586071",
    rule: dark ? "#3a4150" : "#c9ced8",
    query: dark ? "#ff9d5c" : "#b34700",
    key: dark ? "#6cc5ff" : "#0b62a8",
    found: dark ? "#ffe14d" : "#c79a00",
    heads: dark ? HEAD_COLOURS.dark : HEAD_COLOURS.light,
    diverging: new Palette(dark ? ["7cc4ff", "2f74b8", "20242d", "b8601c", "ffb36b"] : ["08519c", "6aaed6", "f7f7f7", "f4a261", "a63603"]),
    shade: new Palette(dark ? ["1c2029", "2b5c94", "58a6e8", "c2e4ff"] : ["ffffff", "cfe3f7", "6baed6", "08519c"]),
    marks,
    markCss,
  };
}

/** Values to colours. */
export class ColourScale {
  /**
   * @param {number} low
   * @param {number} high
   * @param {Palette} palette
   * @param {boolean} [root] whether small values get more of the colours, by their square root
   */
  constructor(low, high, palette, root = false) {
    this.low = low;
    this.high = high > low ? high : low + 1;
    this.palette = palette;
    this.root = root;
    this.middle = low < 0 && high > 0 ? -low / (high - low) : 0;
  }

  /**
   * @param {number} value
   * @returns {number} 0 to 1 inside of the scale
   */
  share(value) {
    const share = (value - this.low) / (this.high - this.low);
    if (!this.root) return share;
    const { middle } = this;
    if (share >= middle) return middle + (1 - middle) * Math.sqrt((share - middle) / (1 - middle));
    return middle - middle * Math.sqrt((middle - share) / middle);
  }

  /**
   * @param {number} value
   * @returns {number} 1 above the scale, -1 below, 0 inside; what rounding adds is inside
   */
  beyond(value) {
    const slack = 1e-5 * (this.high - this.low);
    return value > this.high + slack ? 1 : value < this.low - slack ? -1 : 0;
  }

  /**
   * @param {number} share
   * @returns {number} the value whose share it is
   */
  value(share) {
    const { middle } = this;
    let plain = share;
    if (this.root && share >= middle) plain = middle + (1 - middle) * ((share - middle) / (1 - middle)) ** 2;
    else if (this.root) plain = middle - middle * ((middle - share) / middle) ** 2;
    return this.low + plain * (this.high - this.low);
  }

  /**
   * @param {number} value
   * @returns {string}
   */
  css(value) {
    return this.palette.css(this.share(value));
  }
}

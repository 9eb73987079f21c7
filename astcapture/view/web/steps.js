import { byId, onCanvas } from "./canvas.js";
import { ColourScale, SEQUENTIAL } from "./colours.js";
import { paintCells } from "./pyramid.js";
/** @import { Book } from "./book.js" */
/** @import { Colours } from "./colours.js" */
/** @import { Store } from "./state.js" */

const STEP_SIZE = 44;

/** A strip over the calls of a layer: the steps of a generation, or of a diffusion. */
export class Steps {
  /**
   * @param {Book} book
   * @param {Store} store
   */
  constructor(book, store) {
    this.book = book;
    this.store = store;
    this.canvas = /** @type {HTMLCanvasElement} */ (byId("steps"));
    /** @type {{call: number, x: number}[]} */
    this.places = [];
    this.canvas.addEventListener("click", (event) => {
      const x = event.clientX - this.canvas.getBoundingClientRect().left;
      const place = this.places.find((one) => x >= one.x && x < one.x + STEP_SIZE);
      if (place) this.store.set({ call: place.call });
    });
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      this.go(step);
      event.preventDefault();
      event.stopPropagation();
    });
  }

  /** @returns {number[]} */
  calls() {
    const { state } = this.store;
    const series = this.book.meta.series[state.series];
    const calls = (series?.items ?? []).filter((item) => item.layer === state.layer && item.batch === state.batch).map((item) => item.call);
    return [...new Set(calls)].sort((a, b) => a - b);
  }

  /** @param {number} by */
  go(by) {
    const calls = this.calls();
    const next = calls[calls.indexOf(this.store.state.call) + by];
    if (next !== undefined) this.store.set({ call: next });
  }

  /** @param {Colours} colours */
  draw(colours) {
    const calls = this.calls();
    byId("steps-box").hidden = calls.length < 2;
    if (calls.length < 2) return;
    const { state } = this.store;
    const series = this.book.meta.series[state.series];
    const width = this.canvas.clientWidth || 300;
    const fits = Math.max(1, Math.floor(width / STEP_SIZE));
    // The chosen call stays in the middle of a long strip.
    const at = calls.indexOf(state.call);
    const first = Math.max(0, Math.min(calls.length - fits, at - Math.floor(fits / 2)));
    onCanvas(this.canvas, width, STEP_SIZE + 18, colours.panel, (pen) => {
      this.places = calls.slice(first, first + fits).map((call, i) => ({ call, x: i * STEP_SIZE }));
      for (const { call, x } of this.places) {
        const item = this.book.item(series, state.layer, call, state.batch);
        if (!item) continue;
        const head = typeof state.head === "number" ? Math.min(state.head, item.heads - 1) : 0;
        const [low, high] = item.maps[head].scale;
        const top = Math.max(Math.abs(low), Math.abs(high));
        const scale = series.signed ? new ColourScale(-top, top, colours.diverging) : new ColourScale(Math.min(0, low), high, SEQUENTIAL);
        const thumb = this.book.thumb(item, head);
        const h = thumb.rows === 1 ? 14 : STEP_SIZE - 6;
        pen.image(paintCells(thumb, scale, colours), x + 2, 2 + (STEP_SIZE - 6 - h) / 2, STEP_SIZE - 6, h, false);
        if (call === state.call) pen.frame(x + 1, 1, STEP_SIZE - 4, STEP_SIZE - 4, colours.query, 2.5);
        pen.text(String(call), x + STEP_SIZE / 2 - 2, STEP_SIZE + 7, { fill: call === state.call ? colours.query : colours.dim, size: 11, align: "center", bold: call === state.call });
      }
    });
    byId("steps-text").textContent = `call ${state.call}, ${at + 1} of ${calls.length}`;
    this.canvas.setAttribute("aria-label", `The calls of this layer; call ${state.call}, ${at + 1} of ${calls.length}, is chosen. Left and right arrow move.`);
  }
}

import { byId, make, onCanvas } from "./canvas.js";
import { ColourScale, SEQUENTIAL } from "./colours.js";
import { MARK } from "./field.js";
import { focusOf } from "./look.js";
import { clamp, fourDigits } from "./numbers.js";
import { paintCells } from "./pyramid.js";
import { headsOf, sortHeads, statistic, statisticName, statisticsOf } from "./statistics.js";
/** @import { Book } from "./book.js" */
/** @import { Colours } from "./colours.js" */
/** @import { Pen } from "./pen.js" */
/** @import { Rows } from "./rows.js" */
/** @import { Store } from "./state.js" */
/** @import { Head } from "./statistics.js" */

/** More are not drawn: a feature map can have thousands of channels. */
const MOST_CELLS = 1200;
const GRID_LEFT = 26;
const STRIP_HEIGHT = 5;
/** Room for the letter before a head's number and the gap behind it, in pixels. */
const NAME_WIDTH = 13;

/** @typedef {Head & {x: number, y: number, s: number}} Cell */

/**
 * @param {Float32Array} values
 * @param {number} most
 * @returns {Float32Array} the farthest from zero of those that share a pixel
 */
function shorten(values, most) {
  if (values.length <= 2 * most) return values;
  const fewer = new Float32Array(most).fill(NaN);
  values.forEach((value, i) => {
    const to = Math.floor((i * most) / values.length);
    if (!(Math.abs(fewer[to]) >= Math.abs(value)) && !Number.isNaN(value)) fewer[to] = value;
  });
  return fewer;
}

/** Every layer and head at once: the entry to the page. */
export class Grid {
  /**
   * @param {Book} book
   * @param {Store} store
   * @param {Rows} rows
   */
  constructor(book, store, rows) {
    this.book = book;
    this.store = store;
    this.rows = rows;
    this.canvas = /** @type {HTMLCanvasElement} */ (byId("grid"));
    /** @type {Cell[]} */
    this.cells = [];
    /** @type {Map<string, HTMLCanvasElement>} */
    this.pictures = new Map();
    this.strips = document.createElement("canvas");
    /** @type {number[]} */
    this.lengths = [];
    this.note = byId("grid-note");
    this.isolated = "";
    this.revealed = "";
    this.canvas.addEventListener("click", (event) => this.click(event));
    this.canvas.addEventListener("dblclick", () => this.isolate());
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => this.tell(null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** @returns {Head[]} of very many those around the chosen layer */
  shownHeads() {
    const { state } = this.store;
    const heads = sortHeads(headsOf(this.book, state), state.sort);
    if (heads.length <= MOST_CELLS) return heads;
    if (state.sort !== "order") return heads.slice(0, MOST_CELLS);
    const chosen = heads.findIndex(({ layer }) => layer === state.layer);
    const from = clamp(chosen - MOST_CELLS / 2, 0, heads.length - MOST_CELLS);
    const { layer } = heads[from];
    const first = from === 0 || heads[from - 1].layer !== layer ? from : Math.min(chosen, heads.findIndex((head) => head.layer === layer + 1));
    return heads.slice(Math.max(0, first), Math.max(0, first) + MOST_CELLS);
  }

  /**
   * @param {number} width
   * @returns {number} height
   */
  place(width) {
    const { state } = this.store;
    const heads = this.shownHeads();
    const most = Math.max(1, ...heads.map(({ head }) => head + 1));
    const layers = new Set(heads.map(({ layer }) => layer)).size;
    const sorted = state.sort !== "order";
    // A chosen picture's frame lies around it.
    const left = sorted ? 2 : GRID_LEFT;
    const wanted = Math.floor((width - left) / (sorted ? Math.min(8, Math.max(4, Math.ceil(Math.sqrt(heads.length)))) : most));
    const s = wanted < 14 ? 34 : Math.min(wanted, layers * most <= 16 ? 84 : 64);
    const across = Math.max(1, Math.floor((width - left) / s));
    const under = sorted ? 14 : STRIP_HEIGHT + 1;
    this.cells = [];
    let y = sorted ? 2 : 18;
    if (sorted) {
      heads.forEach((head, i) => this.cells.push({ ...head, x: left + (i % across) * s, y: y + Math.floor(i / across) * (s + under), s: s - 3 }));
      return y + Math.ceil(heads.length / across) * (s + under) + 4;
    }
    let layer = -1;
    let column = 0;
    for (const head of heads) {
      if (head.layer !== layer) {
        if (layer >= 0) y += s + under;
        layer = head.layer;
        column = 0;
      } else if (column === across) {
        y += s + under;
        column = 0;
      }
      this.cells.push({ ...head, x: left + column * s, y, s: s - 3 });
      column++;
    }
    return y + s + under + 2;
  }

  /** @param {Colours} colours */
  draw(colours) {
    const width = this.canvas.clientWidth || 280;
    const height = this.place(width);
    onCanvas(this.canvas, width, height, colours.panel, (pen) => this.paint(pen, colours));
    const { state } = this.store;
    this.reveal();
    const series = this.book.meta.series[state.series];
    const coarse = this.cells.some(({ item, head }) => state.query < item.rows && state.grid !== "maps" && !this.rows.row(item, head, state.query).exact);
    const all = headsOf(this.book, state).length;
    const notes = [];
    if (all > this.cells.length) notes.push(`Showing ${this.cells.length} of ${all.toLocaleString("en")}: choose others by the menus above.`);
    if (coarse) notes.push("Coarse rows at first; exact ones follow.");
    if (state.lock && state.grid === "maps" && state.sort === "order") notes.push("Below each picture: the row of the chosen query.");
    if (state.sort !== "order") notes.push(`Highest ${statisticName(state.sort)} first; L and H: layer and head.`);
    this.note.textContent = notes.join(" ");
    const spoken = `All ${series.layers.length} layers and their heads. Chosen: layer ${state.layer}, ${series.layers[state.layer]}, head ${state.head}. Arrow keys move.`;
    this.canvas.setAttribute("aria-label", spoken);
  }

  /** Of many heads the chosen one must be in sight, whichever way it was chosen. */
  reveal() {
    const { state } = this.store;
    const name = `${state.series}/${state.layer}/${state.head}/${state.sort}`;
    const cell = this.cells.find(({ layer, head }) => layer === state.layer && head === state.head);
    const box = this.canvas.closest("section");
    if (name === this.revealed || !cell || !box) return;
    this.revealed = name;
    const top = this.canvas.getBoundingClientRect().top - box.getBoundingClientRect().top + box.scrollTop + cell.y;
    if (top < box.scrollTop || top + cell.s > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 2;
  }

  /**
   * @param {Pen} pen
   * @param {Colours} colours
   */
  paint(pen, colours) {
    if (this.pictures.size > 20000) this.pictures.clear();
    const { state } = this.store;
    const series = this.book.meta.series[state.series];
    const { query, key } = focusOf(state);
    const sorted = state.sort !== "order";
    const palette = series.signed ? colours.diverging : SEQUENTIAL;
    let layer = -1;
    if (!sorted && this.cells.length) {
      const first = this.cells.filter((cell) => cell.y === this.cells[0].y);
      const step = Math.ceil(Math.max(...first.map(({ head }) => NAME_WIDTH + 7 * String(head).length)) / (first[0].s + 3));
      first.forEach((cell, i) => {
        if (i % step === 0) pen.text(`${series.kind === "channels" ? "C" : "H"}${cell.head}`, cell.x + cell.s / 2, 9, { fill: colours.dim, size: 11, align: "center" });
      });
    }
    if (state.grid === "row" || (state.grid === "maps" && !sorted && (state.lock || state.hoverQuery !== null))) this.paintRows(query, colours);
    for (const [i, cell] of this.cells.entries()) {
      const { item, head, x, y, s } = cell;
      if (!sorted && cell.layer !== layer) {
        layer = cell.layer;
        pen.text(`L${layer}`, GRID_LEFT - 6, y + s / 2, { fill: colours.dim, size: 11, align: "right" });
      }
      const chosen = cell.layer === state.layer && (head === state.head || typeof state.head !== "number");
      const [low, high] = state.range === "all" ? series.scale : item.maps[head].scale;
      const top = Math.max(Math.abs(low), Math.abs(high));
      const scale = series.signed
        ? new ColourScale(-top, top, palette, state.small)
        : new ColourScale(series.kind === "attention" ? 0 : low, high, palette, state.small);
      if (state.grid === "cell" && query < item.rows && key < item.columns) {
        const value = this.rows.value(item, head, query, key);
        const empty = Number.isNaN(value);
        pen.rect(x, y, s, s, empty ? colours.markCss[4] : scale.css(value));
        const text = empty ? "–" : value.toFixed(2).replace(/^(-?)0\./, "$1.");
        if (s >= 24) pen.text(text, x + s / 2, y + s / 2, { fill: empty ? colours.dim : palette.ink(scale.share(value)), size: s > 40 ? 12 : 10, align: "center" });
      } else if (state.grid === "row" && query < item.rows) {
        pen.image(this.strips, x, y, s, s, false, { sx: 0, sy: i, sw: this.lengths[i], sh: 1 });
      } else {
        pen.image(this.picture(cell, scale, colours), x, y, s, s, false);
        if (query < item.rows && (state.lock || state.hoverQuery !== null)) {
          const at = y + ((query + 0.5) / item.rows) * s;
          pen.rect(x - 2, at - 1, 3, 2, colours.query);
          const strip = { sx: 0, sy: i, sw: this.lengths[i], sh: 1 };
          if (!sorted) pen.image(this.strips, x, y + s + 1, s, STRIP_HEIGHT - 1, false, strip);
        }
      }
      if (state.heads.includes(head) && cell.layer === state.layer) {
        pen.dot(x + s - 5, y + 5, 4, colours.heads[head % colours.heads.length], "#fff");
      }
      if (chosen) {
        pen.frame(x - 0.5, y - 0.5, s + 1, s + 1, colours.panel, 4);
        pen.frame(x - 0.5, y - 0.5, s + 1, s + 1, colours.query, 2.5);
      }
      if (sorted) pen.text(s > 34 ? `L${cell.layer} H${head}` : `${cell.layer}.${head}`, x + s / 2, y + s + 7, { fill: chosen ? colours.query : colours.dim, size: 10, align: "center", bold: chosen });
    }
  }

  /**
   * @param {Cell} cell
   * @param {ColourScale} scale
   * @param {Colours} colours
   * @returns {HTMLCanvasElement}
   */
  picture({ item, head }, scale, colours) {
    const map = item.maps[head];
    const name = `${map.thumb.block}/${map.thumb.offset}/${scale.low}/${scale.high}/${scale.root}/${colours.dark}`;
    let picture = this.pictures.get(name);
    if (!picture) {
      picture = paintCells(this.book.thumb(item, head), scale, colours);
      this.pictures.set(name, picture);
    }
    return picture;
  }

  /**
   * The chosen query's row of every head, one below the other in one picture: to make a picture for each, whenever the
   * pointer moves, takes ten times as long.
   * @param {number} query
   * @param {Colours} colours
   */
  paintRows(query, colours) {
    const { state } = this.store;
    const { signed } = this.book.meta.series[state.series];
    const rows = this.cells.map(({ item, head, s }) => (query < item.rows ? shorten(this.rows.row(item, head, query).values, Math.floor(s)) : null));
    const width = Math.max(1, ...rows.map((values) => values?.length ?? 0));
    if (this.strips.width < width || this.strips.height < rows.length) {
      this.strips.width = width;
      this.strips.height = rows.length;
    }
    const image = new ImageData(width, Math.max(1, rows.length));
    const pixels = new Uint32Array(image.data.buffer);
    rows.forEach((values, i) => {
      if (!values) return;
      const own = values.reduce((most, value) => Math.max(most, Math.abs(value) || 0), 1e-12);
      const scale = signed ? new ColourScale(-own, own, colours.diverging, state.small) : new ColourScale(0, own, SEQUENTIAL, state.small);
      values.forEach((value, k) => {
        pixels[i * width + k] = Number.isNaN(value) ? colours.marks[MARK.masked] : scale.palette.pixels[scale.palette.index(scale.share(value))];
      });
      this.lengths[i] = values.length;
    });
    this.strips.getContext("2d", { willReadFrequently: true })?.putImageData(image, 0, 0);
  }

  /**
   * @param {MouseEvent} event
   * @returns {Cell|null}
   */
  under(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    return this.cells.find((cell) => x >= cell.x && x < cell.x + cell.s + 3 && y >= cell.y && y < cell.y + cell.s + STRIP_HEIGHT) ?? null;
  }

  /** @param {MouseEvent} event */
  click(event) {
    const cell = this.under(event);
    if (!cell) return;
    if (event.ctrlKey || event.metaKey || event.shiftKey) {
      // Several heads of one layer, for the lines.
      this.toggle(cell);
    } else this.store.set({ layer: cell.layer, head: cell.head, heads: [] });
  }

  /**
   * Add a head to the lines, or take it away.
   * @param {Head} head
   */
  toggle({ layer, head }) {
    const { state } = this.store;
    const base = layer !== state.layer ? [] : state.heads.length || typeof state.head !== "number" || state.head === head ? state.heads : [state.head];
    const heads = base.includes(head) ? base.filter((one) => one !== head) : [...base, head];
    this.store.set({ layer, head, heads, view: "lines" });
  }

  /** One head alone, or all of its layer again. */
  isolate() {
    const { state } = this.store;
    const name = `${state.series}/${state.layer}/${state.head}`;
    const again = this.isolated === name;
    this.isolated = again ? "" : name;
    const item = this.book.item(this.book.meta.series[state.series], state.layer, state.call, state.batch);
    const all = Array.from({ length: Math.min(16, item?.heads ?? 1) }, (_, i) => i);
    this.store.set({ heads: again ? all : typeof state.head === "number" ? [state.head] : [], view: "lines" });
  }

  /** @param {MouseEvent} event */
  hover(event) {
    this.tell(this.under(event));
  }

  /** @param {Cell|null} cell */
  tell(cell) {
    const { state } = this.store;
    const series = this.book.meta.series[state.series];
    const tip = byId("grid-tip");
    tip.replaceChildren();
    if (!cell) {
      tip.append(make("span", "dim", "Hover over a picture for its name and statistics."));
      return;
    }
    tip.append(make("strong", "", `Layer ${cell.layer}, ${series.kind === "channels" ? "channel" : "head"} ${cell.head}`), make("span", "dim", ` ${series.layers[cell.layer]}`));
    const parts = statisticsOf([cell]).map((name) => `${statisticName(name)} ${fourDigits(statistic(cell, name))}`);
    if (parts.length) tip.append(make("br"), make("span", "dim", parts.join(" · ")));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const at = this.cells.findIndex((cell) => cell.layer === this.store.state.layer && cell.head === this.store.state.head);
    const now = this.cells[Math.max(0, at)];
    if (!now) return;
    const across = this.cells.filter((cell) => cell.y === now.y).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
    if (step !== undefined) {
      const next = this.cells[clamp(at + step, 0, this.cells.length - 1)];
      this.store.set({ layer: next.layer, head: next.head, heads: [] });
    } else if (event.key === "Enter") byId("stage").focus();
    else if (event.key === " ") this.isolate();
    else if (event.key === "a") this.toggle(now);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

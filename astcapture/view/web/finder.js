import { byId, make, onCanvas } from "./canvas.js";
import { axisNumber, fourDigits } from "./numbers.js";
import { headsOf, sortHeads, statistic, statisticMeaning, statisticName, statisticsOf } from "./statistics.js";
/** @import { Book } from "./book.js" */
/** @import { Colours } from "./colours.js" */
/** @import { Store } from "./state.js" */
/** @import { Head } from "./statistics.js" */

const SCATTER_HEIGHT = 230;
const SCATTER_LEFT = 54;
const SCATTER_BOTTOM = 34;

/** Heads by two of their statistics, and the first of a ranking. */
export class Finder {
  /**
   * @param {Book} book
   * @param {Store} store
   */
  constructor(book, store) {
    this.book = book;
    this.store = store;
    this.canvas = /** @type {HTMLCanvasElement} */ (byId("scatter"));
    this.list = byId("ranking");
    this.box = /** @type {HTMLDetailsElement} */ (byId("finder"));
    /** @type {(Head & {x: number, y: number})[]} */
    this.dots = [];
    this.canvas.addEventListener("click", (event) => {
      const head = this.under(event);
      if (head) this.store.set({ layer: head.layer, head: head.head, heads: [] });
    });
    this.canvas.addEventListener("pointermove", (event) => this.tell(this.under(event)));
    this.canvas.addEventListener("pointerleave", () => this.tell(null));
    this.box.open = window.innerWidth >= 1150 && window.innerHeight >= 800;
    this.box.addEventListener("toggle", () => this.redraw());
    /** @type {Colours|null} */
    this.colours = null;
  }

  redraw() {
    if (this.colours) this.draw(this.colours);
  }

  /**
   * @param {MouseEvent} event
   * @returns {Head|null}
   */
  under(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    let best = null;
    let nearest = 14;
    for (const dot of this.dots) {
      const far = Math.hypot(event.clientX - left - dot.x, event.clientY - top - dot.y);
      if (far < nearest) [best, nearest] = [dot, far];
    }
    return best;
  }

  /** @param {Head|null} head */
  tell(head) {
    const { state } = this.store;
    const heads = headsOf(this.book, state);
    /** @param {string} name @returns {string} */
    const rank = (name) => {
      if (!head || Number.isNaN(statistic(head, name))) return `${name} undefined`;
      const place = sortHeads(heads, name).findIndex((one) => one.layer === head.layer && one.head === head.head) + 1;
      return `${statisticName(name)} ${fourDigits(statistic(head, name))}, rank ${place} of ${heads.length}`;
    };
    byId("scatter-tip").textContent = head ? `Layer ${head.layer}, head ${head.head}: ${rank(state.x)}; ${rank(state.y)}` : "Each dot is one head. Hover for its rank, click to see its map.";
  }

  /** @param {Colours} colours */
  draw(colours) {
    this.colours = colours;
    const { state } = this.store;
    const series = this.book.meta.series[state.series];
    const heads = headsOf(this.book, state);
    const names = statisticsOf(heads);
    this.box.hidden = names.length === 0 || heads.length < 2;
    if (!names.length || !this.box.open) return;
    const x = names.includes(state.x) ? state.x : names[0];
    const y = names.includes(state.y) ? state.y : names[names.length - 1];
    const layers = Math.max(1, series.layers.length - 1);
    const width = this.canvas.clientWidth || 280;
    onCanvas(this.canvas, width, SCATTER_HEIGHT, colours.panel, (pen) => {
      const [xs, ys] = [x, y].map((name) => heads.map((head) => statistic(head, name)).filter((value) => !Number.isNaN(value)));
      /** @param {number[]} values @returns {[number, number]} */
      const range = (values) => {
        const [low, high] = [Math.min(...values), Math.max(...values)];
        return high > low ? [low, high] : [low - 0.5, high + 0.5];
      };
      const [x0, x1] = range(xs);
      const [y0, y1] = range(ys);
      const [w, h] = [width - SCATTER_LEFT - 14, SCATTER_HEIGHT - SCATTER_BOTTOM - 14];
      pen.frame(SCATTER_LEFT - 0.5, 8.5, w + 8, h + 6, colours.rule);
      for (const share of [0, 0.5, 1]) {
        pen.text(axisNumber(x0 + share * (x1 - x0), x1 - x0), SCATTER_LEFT + 4 + share * w, SCATTER_HEIGHT - 24, { fill: colours.dim, size: 10, align: share === 0 ? "left" : share === 1 ? "right" : "center" });
        pen.text(axisNumber(y0 + share * (y1 - y0), y1 - y0), SCATTER_LEFT - 5, 12 + (1 - share) * h, { fill: colours.dim, size: 10, align: "right" });
      }
      pen.text(`${statisticName(x)} →`, SCATTER_LEFT + w / 2, SCATTER_HEIGHT - 8, { fill: colours.dim, size: 11, align: "center" });
      pen.text(`${statisticName(y)} →`, 7, 12 + h / 2, { fill: colours.dim, size: 11, align: "center", turn: -Math.PI / 2 });
      this.dots = [];
      for (const head of heads) {
        const [sx, sy] = [statistic(head, x), statistic(head, y)];
        if (Number.isNaN(sx) || Number.isNaN(sy)) continue;
        this.dots.push({ ...head, x: SCATTER_LEFT + 4 + ((sx - x0) / (x1 - x0)) * w, y: 12 + (1 - (sy - y0) / (y1 - y0)) * h });
      }
      /** @param {Head} head @returns {boolean} */
      const chosen = (head) => head.layer === state.layer && head.head === state.head;
      // The chosen one last, so that no other covers it. Early layers are pale, late ones strong.
      for (const dot of [...this.dots].sort((a, b) => Number(chosen(a)) - Number(chosen(b)))) {
        const colour = colours.dark ? colours.shade.css(0.45 + (0.55 * dot.layer) / layers) : colours.shade.css(0.4 + (0.6 * dot.layer) / layers);
        pen.dot(dot.x, dot.y, chosen(dot) ? 6 : 4, chosen(dot) ? colours.query : colour, chosen(dot) ? colours.ink : colours.panel);
      }
    });
    this.tell(null);
    this.list.replaceChildren();
    const ranked = sortHeads(heads, state.sort === "order" ? y : state.sort);
    const by = state.sort === "order" ? y : state.sort;
    byId("ranking-title").textContent = `Highest ${statisticName(by)}: ${statisticMeaning(by)}`;
    ranked.slice(0, 10).forEach((head, i) => {
      if (Number.isNaN(statistic(head, by))) return;
      const button = make("button", "row");
      button.append(make("span", "rank", `${i + 1}.`), make("span", "", `layer ${head.layer}, head ${head.head}`), make("span", "number", fourDigits(statistic(head, by))));
      button.setAttribute("aria-current", String(chosenHead(head, state)));
      button.addEventListener("click", () => this.store.set({ layer: head.layer, head: head.head, heads: [] }));
      const entry = make("li");
      entry.append(button);
      this.list.append(entry);
    });
  }
}

/**
 * @param {Head} head
 * @param {import("./state.js").State} state
 * @returns {boolean}
 */
function chosenHead(head, state) {
  return head.layer === state.layer && head.head === state.head;
}

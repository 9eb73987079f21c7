import { byId, onCanvas } from "./canvas.js";
import { ChannelView } from "./channels.js";
import { LinesView } from "./lines.js";
import { clamp } from "./numbers.js";
import { MapView } from "./map.js";
import { PlaceView } from "./place.js";
import { StripView } from "./strip.js";
/** @import { Look, View } from "./look.js" */
/** @import { Pen } from "./pen.js" */
/** @import { Scene } from "./scene.js" */
/** @import { State, Store } from "./state.js" */

/**
 * The views that a value can be seen in.
 * @param {Scene|null} scene
 * @returns {{name: string, title: string}[]}
 */
export function viewsOf(scene) {
  if (!scene) return [];
  const { series, rowLabels, columnLabels } = scene.main;
  if (series.kind === "strip") return [{ name: "map", title: "Bars" }];
  if (series.kind === "channels") {
    return [
      { name: "image", title: "Over the image" },
      { name: "map", title: "Map" },
    ];
  }
  const views = [
    { name: "map", title: "Map" },
    { name: "lines", title: "Lines" },
  ];
  const patches = rowLabels.hasPatches || columnLabels.hasPatches;
  const words = rowLabels.hasWords || columnLabels.hasWords;
  if (patches) views.push({ name: "image", title: words ? "Image and text" : "Image" });
  else if (words) views.push({ name: "text", title: "Text" });
  return views;
}

/** The large picture, and what the pointer and the keys do on it. */
export class Stage {
  /**
   * @param {Store} store
   * @param {() => Look|null} look
   */
  constructor(store, look) {
    this.store = store;
    this.look = look;
    this.canvas = /** @type {HTMLCanvasElement} */ (byId("stage"));
    this.map = new MapView();
    this.lines = new LinesView();
    this.placed = new PlaceView();
    this.strip = new StripView();
    this.channels = new ChannelView();
    /** @type {{x: number, y: number, moved: boolean, query?: number, key?: number, brush: boolean}|null} */
    this.drag = null;
    /** @type {Map<number, [number, number]>} where the fingers are, by pointer */
    this.fingers = new Map();
    this.size = { w: 1, h: 1 };
    /** @type {{query: number, key: number}|null} */
    this.corner = null;
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) {
      canvas.addEventListener(name, (event) => this.fingers.delete(event.pointerId));
    }
    canvas.addEventListener("pointerleave", () => this.store.set({ hoverQuery: null, hoverKey: null }));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", () => this.view() === this.map && this.store.set({ zoom: null }));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** @returns {View} */
  view() {
    const scene = this.look()?.scene ?? null;
    const name = shownView(this.store.state, scene);
    const kind = scene?.main.series.kind;
    if (kind === "strip") return this.strip;
    if (kind === "channels" && name === "image") return this.channels;
    return name === "lines" ? this.lines : name === "map" ? this.map : this.placed;
  }

  draw() {
    const look = this.look();
    if (!look) return;
    const frame = byId("stage-box");
    this.size = { w: frame.clientWidth, h: frame.clientHeight };
    onCanvas(this.canvas, this.size.w, this.size.h, look.colours.panel, (pen, density) => {
      this.paint(pen, { ...look, density });
    });
  }

  /**
   * @param {Pen} pen
   * @param {Look} look
   */
  paint(pen, look) {
    this.view().draw(pen, look, this.size.w, this.size.h);
  }

  /**
   * @param {MouseEvent} event
   * @returns {[number, number]}
   */
  at(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  /** @param {PointerEvent} event */
  down(event) {
    const [x, y] = this.at(event);
    if (event.pointerType === "touch") this.fingers.set(event.pointerId, [x, y]);
    if (this.fingers.size > 1) {
      // What was the beginning of a drag or a tap is that of a pinch.
      this.drag = null;
      return;
    }
    const hit = this.view().hit(x, y);
    this.drag = { x, y, moved: false, query: hit?.query ?? undefined, key: hit?.key ?? undefined, brush: event.shiftKey };
    this.canvas.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  move(event) {
    const [x, y] = this.at(event);
    const view = this.view();
    const { drag } = this;
    if (this.fingers.size > 1) {
      this.pinch(event.pointerId, x, y);
      return;
    }
    if (drag && (event.buttons & 1) === 0) this.drag = null;
    else if (drag) {
      if (!drag.moved && Math.hypot(x - drag.x, y - drag.y) < 4) return;
      drag.moved = true;
      const hit = view.hit(x, y);
      if (drag.brush && typeof hit?.query === "number" && typeof hit.key === "number" && drag.query !== undefined && drag.key !== undefined) {
        this.store.set({ brush: [drag.query, hit.query, drag.key, hit.key] });
      } else if (!drag.brush && (view === this.map || view === this.strip)) {
        const zoom = /** @type {MapView} */ (view).panBy(x - drag.x, y - drag.y);
        [drag.x, drag.y] = [x, y];
        if (zoom) this.store.set({ zoom });
      } else if (!drag.brush) {
        if (view.scroll?.(/** @type {Look} */ (this.look()), x, y, 0, drag.y - y)) this.draw();
        [drag.x, drag.y] = [x, y];
      }
      return;
    }
    const hit = view.hit(x, y);
    this.canvas.style.cursor = hit ? (hit.scale !== undefined ? "ns-resize" : "crosshair") : "default";
    this.store.set({ hoverQuery: hit?.query ?? null, hoverKey: hit?.key ?? null });
  }

  /**
   * Two fingers zoom by how far they are apart, around the point between them, and move the map with that point.
   * @param {number} pointer the finger that has moved
   * @param {number} x
   * @param {number} y
   */
  pinch(pointer, x, y) {
    const before = this.fingers.get(pointer);
    const [other] = [...this.fingers].filter(([id]) => id !== pointer).map(([, place]) => place);
    if (!before || !other) return;
    this.fingers.set(pointer, [x, y]);
    const view = this.view();
    if (view !== this.map && view !== this.strip) return;
    const moved = /** @type {MapView} */ (view).panBy((x - before[0]) / 2, (y - before[1]) / 2);
    const by = Math.hypot(x - other[0], y - other[1]) / Math.max(1, Math.hypot(before[0] - other[0], before[1] - other[1]));
    // Both are relative to what is drawn.
    this.store.set({ zoom: moved });
    this.store.flush();
    this.store.set({ zoom: /** @type {MapView} */ (view).zoomAt((x + other[0]) / 2, (y + other[1]) / 2, by) });
    this.store.flush();
  }

  /** @param {PointerEvent} event */
  up(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag || drag.moved) return;
    const [x, y] = this.at(event);
    const hit = this.view().hit(x, y);
    if (!hit) this.store.set({ lock: "", brush: null });
    else if (hit.scale !== undefined) this.rescale(hit.scale);
    else {
      /** @type {Partial<State>} */
      const changes = {};
      if (typeof hit.query === "number") changes.query = hit.query;
      if (typeof hit.key === "number") changes.key = hit.key;
      changes.lock = typeof hit.query === "number" ? "query" : "key";
      changes.side = typeof hit.query === "number" ? "keys" : "queries";
      this.store.set(changes);
    }
  }

  /**
   * Let the colours run to a value, so that those around it are told apart.
   * @param {number} value
   */
  rescale(value) {
    const scene = this.look()?.scene;
    if (!scene || !Number.isFinite(value)) return;
    const { low } = scene.main.scale;
    const size = Math.abs(value);
    if (scene.main.signed) {
      if (size > 0) this.store.set({ range: [-size, size] });
    } else if (value > low) this.store.set({ range: [low, value] });
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    const [x, y] = this.at(event);
    const view = this.view();
    if (view === this.map || view === this.strip) {
      event.preventDefault();
      const factor = Math.exp(-clamp(event.deltaY * (event.deltaMode ? 20 : 1), -120, 120) * (event.ctrlKey ? 0.01 : 0.0022));
      const zoom = /** @type {MapView} */ (view).zoomAt(x, y, factor);
      if (zoom) this.store.set({ zoom });
    } else if (view.scroll?.(/** @type {Look} */ (this.look()), x, y, event.deltaX, event.deltaY * (event.deltaMode ? 20 : 1))) {
      event.preventDefault();
      this.draw();
    }
  }

  /**
   * Zoom around the chosen cell.
   * @param {number} by
   */
  zoom(by) {
    const { state } = this.store;
    const [, , factor] = state.zoom ?? [0, 0, 1];
    this.store.set({ zoom: [state.query + 0.5, state.key + 0.5, factor * by] });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const look = this.look();
    if (!look) return;
    const { state } = this.store;
    const { rowLabels, shown } = look.scene.main;
    const view = this.view();
    let [query, key] = [state.query, state.key];
    const same = look.scene.main.item.row_axis === look.scene.main.item.column_axis;
    const placed = view === this.placed;
    const across = (placed && rowLabels.across) || 1;
    switch (event.key) {
      case "ArrowUp":
        query -= across;
        break;
      case "ArrowDown":
        query += across;
        break;
      case "ArrowLeft":
        if (placed && same) query--;
        else key--;
        break;
      case "ArrowRight":
        if (placed && same) query++;
        else key++;
        break;
      case "Home":
        key = 0;
        break;
      case "End":
        key = shown.columns - 1;
        break;
      case "PageUp":
        query -= 10;
        break;
      case "PageDown":
        query += 10;
        break;
      case "+":
      case "=":
        this.zoom(1.5);
        event.preventDefault();
        return;
      case "-":
        this.zoom(1 / 1.5);
        event.preventDefault();
        return;
      case "0":
        this.store.set({ zoom: null, range: "head" });
        return;
      case "Enter":
      case " ":
        this.store.set({ lock: state.lock ? "" : "query" });
        event.preventDefault();
        return;
      default:
        return;
    }
    event.preventDefault();
    query = clamp(query, 0, shown.rows - 1);
    if (placed && same) key = query;
    key = clamp(key, 0, shown.columns - 1);
    /** @type {Partial<State>} */
    const changes = { query, key, hoverQuery: null, hoverKey: null, lock: "query", side: "keys" };
    if (placed && !same && (event.key === "ArrowLeft" || event.key === "ArrowRight")) changes.lock = "key";
    if (event.shiftKey && event.key.startsWith("Arrow")) {
      this.corner ??= { query: state.query, key: state.key };
      changes.brush = [this.corner.query, query, this.corner.key, key];
    } else this.corner = null;
    if (state.zoom && !this.isSeen(query, key)) changes.zoom = [query + 0.5, key + 0.5, state.zoom[2]];
    this.store.set(changes);
  }

  /**
   * @param {number} query
   * @param {number} key
   * @returns {boolean}
   */
  isSeen(query, key) {
    const seen = this.map.window();
    return !seen || (query >= seen[0] && query <= seen[1] && key >= seen[2] && key <= seen[3]);
  }
}

/**
 * The view that is shown: a choice may not fit the value, such as text without words.
 * @param {State} state
 * @param {Scene|null} scene
 * @returns {string}
 */
export function shownView(state, scene) {
  const names = viewsOf(scene).map(({ name }) => name);
  if (names.includes(state.view)) return state.view;
  if (state.view === "text" && names.includes("image")) return "image";
  if (state.view === "image" && names.includes("text")) return "text";
  return "map";
}

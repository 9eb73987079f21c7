import { FIRST_STATE } from "./state.js";
/** @import { State, StateName } from "./state.js" */

const NOT_WRITTEN = new Set(["hoverQuery", "hoverKey"]);

/**
 * The state as an address's fragment, without what is as it was at first.
 * @param {State} state
 * @returns {string} such as "layer=3&head=5&query=12&view=map"
 */
export function toFragment(state) {
  const parts = [];
  for (const name of /** @type {StateName[]} */ (Object.keys(FIRST_STATE))) {
    const value = state[name];
    if (NOT_WRITTEN.has(name) || JSON.stringify(value) === JSON.stringify(FIRST_STATE[name])) continue;
    const numbers = Array.isArray(value) ? value.map((one) => Number(one.toFixed(4))).join(",") : String(value);
    parts.push(`${name}=${encodeURIComponent(numbers).replaceAll("%2C", ",")}`);
  }
  return parts.join("&");
}

/**
 * Names and values that mean nothing are passed over: an address may be of an older file, or typed by hand.
 * @param {string} fragment
 * @returns {Partial<State>}
 */
export function fromFragment(fragment) {
  /** @type {Record<string, unknown>} */
  const found = {};
  for (const part of fragment.replace(/^#/, "").split("&")) {
    const cut = part.indexOf("=");
    const name = /** @type {StateName} */ (part.slice(0, cut));
    if (cut < 1 || !Object.hasOwn(FIRST_STATE, name) || NOT_WRITTEN.has(name)) continue;
    let text;
    try {
      text = decodeURIComponent(part.slice(cut + 1));
    } catch {
      continue;
    }
    const first = FIRST_STATE[name];
    const numbers = text.split(",").map(Number);
    const allNumbers = text !== "" && numbers.every(Number.isFinite);
    const counts = /** @type {Record<string, number>} */ ({ zoom: 3, brush: 4, pin: 5, range: 2 });
    if (name in counts) {
      if (allNumbers && numbers.length === counts[name]) found[name] = numbers;
      else if (name === "range") found[name] = text;
    } else if (Array.isArray(first)) {
      if (allNumbers) found[name] = numbers;
    } else if (typeof first === "boolean") found[name] = text === "true";
    else if (typeof first === "number") found[name] = allNumbers ? numbers[0] : text;
    else found[name] = text;
  }
  return /** @type {Partial<State>} */ (found);
}

/**
 * Inside of a frame the address may be out of reach; the page works without.
 * @param {State} state
 */
export function writeAddress(state) {
  const fragment = toFragment(state);
  if (fragment === location.hash.replace(/^#/, "")) return;
  try {
    history.replaceState(null, "", `#${fragment}`);
  } catch {
    // A sandboxed frame: nothing to do.
  }
}

/** @returns {Partial<State>} */
export function readAddress() {
  return fromFragment(location.hash);
}

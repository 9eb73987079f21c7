import { decodeMap, fromBase64, smallField } from "./decode.js";
import { inflate } from "./inflate.js";
/** @import { Field } from "./field.js" */
/** @import { Item, Meta, Series } from "./types.js" */

/** How many cells of decoded heads are kept; the longest unused go first. */
const KEPT_CELLS = 40e6;

/**
 * @param {import("./types.js").StoredMap} map
 * @returns {string} what no other map of the file has: small ones share a block
 */
export function mapName(map) {
  return `${map.block}/${map.offset ?? 0}`;
}

/** The file's contents: what is in it, and each head decoded when it is asked for. */
export class Book {
  /**
   * @param {Meta} meta
   * @param {(block: number) => string} text base64 of a block
   */
  constructor(meta, text) {
    this.meta = meta;
    this.text = text;
    /** @type {Map<string, Field>} */
    this.decoded = new Map();
    this.cells = 0;
    /** @type {Map<import("./types.js").StoredMap, Field>} */
    this.thumbs = new Map();
    /** @type {Map<number, Uint8Array>} blocks that several maps share */
    this.shared = new Map();
    /** @type {Map<Series, Map<string, Item>>} */
    this.places = new Map();
    for (const series of meta.series) {
      const place = new Map();
      for (const item of series.items) place.set(`${item.layer}/${item.call}/${item.batch}`, item);
      this.places.set(series, place);
    }
  }

  /**
   * @param {Series} series
   * @param {number} layer
   * @param {number} call
   * @param {number} batch
   * @returns {Item|null}
   */
  item(series, layer, call, batch) {
    return this.places.get(series)?.get(`${layer}/${call}/${batch}`) ?? null;
  }

  /**
   * @param {number} block
   * @returns {Uint8Array}
   */
  bytes(block) {
    return this.shared.get(block) ?? inflate(fromBase64(this.text(block)));
  }

  /**
   * Thumbnails of a whole series lie in one block, which stays.
   * @param {Item} item
   * @param {number} head
   * @returns {Field}
   */
  thumb(item, head) {
    const map = item.maps[head];
    const known = this.thumbs.get(map);
    if (known) return known;
    if (!this.shared.has(map.thumb.block)) this.shared.set(map.thumb.block, this.bytes(map.thumb.block));
    const thumb = smallField(map.thumb, map, (block) => this.bytes(block));
    this.thumbs.set(map, thumb);
    return thumb;
  }

  /**
   * @param {Item} item
   * @param {number} head
   * @returns {Field}
   */
  field(item, head) {
    const map = item.maps[head];
    const name = mapName(map);
    let field = this.decoded.get(name);
    if (field) this.decoded.delete(name);
    else {
      // What lies at an offset shares its block with others, the kept shares of a whole series say.
      for (const part of [map, map.row_scale, map.kept, map.overview, map.marks]) {
        if (part?.offset !== undefined && !this.shared.has(part.block)) this.shared.set(part.block, this.bytes(part.block));
      }
      field = decodeMap(map, item.rows, item.columns, (block) => this.bytes(block));
      this.cells += item.rows * item.columns;
    }
    this.decoded.set(name, field);
    for (const [old, one] of this.decoded) {
      if (this.cells <= KEPT_CELLS || one === field) break;
      this.decoded.delete(old);
      this.cells -= one.rows * one.columns;
    }
    return field;
  }

  /**
   * @param {Item} item
   * @param {number} head
   * @returns {boolean}
   */
  isDecoded(item, head) {
    return this.decoded.has(mapName(item.maps[head]));
  }
}

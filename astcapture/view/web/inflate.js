/*
 * The browser's own DecompressionStream answers later, and older browsers lack it. A value that is asked for
 * must come at once, so the page decompresses by itself (RFC 1950 and 1951).
 */

const LENGTH_BASE = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
const LENGTH_EXTRA = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
];
const DISTANCE_EXTRA = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
const CODE_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/**
 * A table from the next `bits` bits of the stream to `symbol << 4 | length of its code`.
 * @param {ArrayLike<number>} lengths
 * @returns {{table: Uint16Array, bits: number}}
 */
function codeTable(lengths) {
  let bits = 1;
  const count = new Uint16Array(16);
  for (let i = 0; i < lengths.length; i++) {
    count[lengths[i]]++;
    if (lengths[i] > bits) bits = lengths[i];
  }
  count[0] = 0;
  const next = new Uint16Array(16);
  for (let length = 1, code = 0; length < 16; length++) {
    code = (code + count[length - 1]) << 1;
    next[length] = code;
  }
  const table = new Uint16Array(1 << bits);
  for (let symbol = 0; symbol < lengths.length; symbol++) {
    const length = lengths[symbol];
    if (!length) continue;
    // Codes are written from their highest bit, the stream is read from its lowest.
    let reversed = 0;
    for (let code = next[length]++, i = 0; i < length; i++, code >>= 1) reversed = (reversed << 1) | (code & 1);
    for (let i = reversed; i < table.length; i += 1 << length) table[i] = (symbol << 4) | length;
  }
  return { table, bits };
}

/** @returns {[{table: Uint16Array, bits: number}, {table: Uint16Array, bits: number}]} */
function fixedTables() {
  const lengths = new Uint8Array(288).fill(8);
  lengths.fill(9, 144, 256).fill(7, 256, 280);
  return [codeTable(lengths), codeTable(new Uint8Array(30).fill(5))];
}

/**
 * Decompress a zlib stream.
 * @param {Uint8Array} input
 * @returns {Uint8Array}
 */
export function inflate(input) {
  let out = new Uint8Array(Math.max(1024, input.length * 4));
  let at = 0;
  let position = 2;
  let held = 0;
  let heldBits = 0;

  /** @param {number} need */
  function grow(need) {
    if (need <= out.length) return;
    const larger = new Uint8Array(Math.max(need, out.length * 2));
    larger.set(out);
    out = larger;
  }
  /** @param {number} n @returns {number} */
  function take(n) {
    while (heldBits < n) {
      held |= input[position++] << heldBits;
      heldBits += 8;
    }
    const value = held & ((1 << n) - 1);
    held >>>= n;
    heldBits -= n;
    return value;
  }
  /** @param {{table: Uint16Array, bits: number}} codes @returns {number} */
  function symbol(codes) {
    // Past the end zeros are read: the last code may be shorter than the table's bits.
    while (heldBits < codes.bits) {
      held |= (position < input.length ? input[position] : 0) << heldBits;
      position++;
      heldBits += 8;
    }
    const entry = codes.table[held & ((1 << codes.bits) - 1)];
    const length = entry & 15;
    if (!length || position > input.length + 4) throw new Error("a block of this file is damaged");
    held >>>= length;
    heldBits -= length;
    return entry >> 4;
  }

  for (let last = 0; !last; ) {
    last = take(1);
    const kind = take(2);
    if (kind === 0) {
      position -= heldBits >> 3;
      held = heldBits = 0;
      const length = input[position] | (input[position + 1] << 8);
      position += 4;
      grow(at + length);
      out.set(input.subarray(position, position + length), at);
      at += length;
      position += length;
      continue;
    }
    if (kind === 3) throw new Error("a block of this file is damaged");
    let literals;
    let distances;
    if (kind === 1) [literals, distances] = fixedTables();
    else {
      const literalCount = take(5) + 257;
      const distanceCount = take(5) + 1;
      const codeCount = take(4) + 4;
      const codeLengths = new Uint8Array(19);
      for (let i = 0; i < codeCount; i++) codeLengths[CODE_ORDER[i]] = take(3);
      const codes = codeTable(codeLengths);
      const lengths = new Uint8Array(literalCount + distanceCount);
      for (let i = 0; i < lengths.length; ) {
        const code = symbol(codes);
        if (code < 16) {
          lengths[i++] = code;
          continue;
        }
        const repeat = code === 16 ? 3 + take(2) : code === 17 ? 3 + take(3) : 11 + take(7);
        lengths.fill(code === 16 ? lengths[i - 1] : 0, i, i + repeat);
        i += repeat;
      }
      literals = codeTable(lengths.subarray(0, literalCount));
      distances = codeTable(lengths.subarray(literalCount));
    }
    for (;;) {
      const code = symbol(literals);
      if (code < 256) {
        if (at === out.length) grow(at + 1);
        out[at++] = code;
        continue;
      }
      if (code === 256) break;
      const length = LENGTH_BASE[code - 257] + take(LENGTH_EXTRA[code - 257]);
      const way = symbol(distances);
      const distance = DISTANCE_BASE[way] + take(DISTANCE_EXTRA[way]);
      if (distance > at) throw new Error("a block of this file is damaged");
      grow(at + length);
      // The copy may overlap what it writes: that is how runs are coded.
      if (distance >= length) out.copyWithin(at, at - distance, at - distance + length);
      else for (let i = 0; i < length; i++) out[at + i] = out[at + i - distance];
      at += length;
    }
  }
  return out.subarray(0, at);
}

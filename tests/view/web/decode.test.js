// What NumPy wrote is read back: run with the file that make_fixture.py writes, `VALUES=values.json node --test`.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { fromFragment, toFragment } from "../../../astcapture/view/web/address.js";
import { Labels } from "../../../astcapture/view/web/axes.js";
import { Book } from "../../../astcapture/view/web/book.js";
import { combine, difference, hideTokens, keepShare, leastOfShare, rescaling } from "../../../astcapture/view/web/change.js";
import { Field, MARK } from "../../../astcapture/view/web/field.js";
import { inflate } from "../../../astcapture/view/web/inflate.js";
import { axisNumber, fourDigits, niceStep, percent } from "../../../astcapture/view/web/numbers.js";
import { escapeXml, visibleText } from "../../../astcapture/view/web/pen.js";
import { halve } from "../../../astcapture/view/web/pyramid.js";
import { settleState } from "../../../astcapture/view/web/settle.js";
import { FIRST_STATE } from "../../../astcapture/view/web/state.js";

const folder = mkdtempSync(join(tmpdir(), "page-"));
const file = process.env.VALUES ?? join(folder, "values.json");
if (!process.env.VALUES) {
  execFileSync(process.env.PYTHON ?? "python3", [join(import.meta.dirname, "make_fixture.py"), join(folder, "page.html"), file]);
}
/** @type {{meta: import("../../../astcapture/view/web/types.js").Meta, blocks: string[], values: Record<string, (number|string|null)[][]>}} */
const fixture = JSON.parse(readFileSync(file, "utf8"));
const book = new Book(fixture.meta, (block) => fixture.blocks[block]);

/** @param {number} seed @returns {() => number} */
function random(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

test("inflate undoes what zlib made, at every level and of every kind of block", () => {
  const next = random(5);
  for (const length of [0, 1, 2, 300, 70000, 400000]) {
    const noise = Uint8Array.from({ length }, () => next() * 256);
    const runs = Uint8Array.from({ length }, (_, i) => (i % 9000 < 8000 ? 7 : next() * 4));
    // Of letters that differ in how often they come, many blocks with codes of their own are made.
    const letters = Uint8Array.from({ length }, () => next() * next() * (length > 1000 ? 40 : 8));
    for (const data of [noise, runs, letters]) {
      for (const level of [0, 1, 6, 9]) {
        for (const strategy of [0, 4]) assert.deepEqual(inflate(deflateSync(data, { level, strategy })).slice(), data);
      }
    }
  }
});

test("inflate says that a damaged block is damaged, and ends", () => {
  const whole = deflateSync(Buffer.alloc(50000, "abcdefg hijk"));
  assert.throws(() => inflate(whole.subarray(0, 20)), /damaged/);
  const next = random(9);
  for (let i = 0; i < 300; i++) {
    const broken = Uint8Array.from(whole, (byte) => (next() < 0.05 ? next() * 256 : byte));
    try {
      inflate(broken);
    } catch (error) {
      assert.ok(error instanceof Error);
    }
  }
});

/** @param {string} series @param {string} values @param {number} [layer] @param {number} [run] */
function compare(series, values, layer = 0, run = 0) {
  const one = fixture.meta.series.find((each) => each.name === series && each.run === run && (values === "scores") === (each.kind === "map"));
  assert.ok(one);
  const item = book.item(one, layer, 0, 0);
  assert.ok(item);
  let checked = 0;
  for (let head = 0; head < item.heads; head++) {
    const field = book.field(item, head);
    const true_ = fixture.values[values][head];
    for (let i = 0; i < true_.length; i++) {
      const got = field.at(Math.floor(i / item.columns), i % item.columns);
      const want = true_[i];
      if (want === null) assert.ok(Number.isNaN(got));
      else if (typeof want === "string") assert.equal(got, want === "inf" ? Infinity : -Infinity);
      else if (want <= -1e30 || (got === null && item.maps[head].form === "sparse")) assert.equal(got, null);
      else {
        assert.ok(got !== null && Math.abs(got - want) <= item.maps[head].error + 1e-6, `${series} head ${head} cell ${i}: ${got} for ${want}`);
        checked++;
      }
    }
  }
  return checked;
}

test("every cell is within the stated error of what was captured", () => {
  for (let layer = 0; layer < 4; layer++) assert.ok(compare("Attention.forward", `words/${layer}`, layer) > 1000);
  assert.ok(compare("UNet.cross", "cross") === 2 * 51 * 6);
  assert.ok(compare("Norm.forward", "strip") === 200);
});

test("an exact head has no error at all", () => {
  const { maps } = fixture.meta.series[0].items[0];
  assert.equal(maps[1].form, "exact");
  assert.equal(maps[1].error, 0);
  const field = book.field(fixture.meta.series[0].items[0], 1);
  assert.deepEqual([...field.data], fixture.values["words/0"][1]);
});

test("NaN, infinities and masked scores are what they were", () => {
  compare("Attention.forward", "scores");
  const field = book.field(fixture.meta.series[2].items[0], 0);
  assert.equal(field.mark(3, 1), MARK.nan);
  assert.equal(field.mark(5, 2), MARK.inf);
  assert.equal(field.mark(0, 9), MARK.minusInf);
  assert.equal(book.field(fixture.meta.series[2].items[0], 1).mark(4, 4), MARK.masked);
  assert.ok(Number.isNaN(field.number(5, 2)));
});

test("a sparse head has the k largest of each row, and says what share of the mass they are", () => {
  assert.equal(compare("Long.forward", "sparse"), 2 * 64 * 8);
  const series = fixture.meta.series.find((each) => each.name === "Long.forward");
  assert.ok(series);
  const field = book.field(series.items[0], 0);
  const all = /** @type {number[]} */ (fixture.values.sparse[0]);
  for (let q = 0; q < 64; q++) {
    const row = all.slice(64 * q, 64 * q + 64);
    const largest = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 8);
    const kept = [...row.keys()].filter((k) => field.at(q, k) !== null);
    assert.deepEqual(kept, largest.sort((a, b) => a - b));
    const share = largest.reduce((sum, k) => sum + row[k], 0) / row.reduce((sum, v) => sum + v, 0);
    assert.ok(field.keptShare(q) <= share + 1e-6 && field.keptShare(q) > share - 2 / 255);
  }
  assert.ok(field.overview && field.overview.rows === 64);
});

test("after a causal query there are zeros, and nothing is said to be left out", () => {
  const series = fixture.meta.series.find((each) => each.name === "Long.forward");
  assert.ok(series);
  assert.ok(compare("Long.forward", "causal", 1) > 2 * 32 * 63);
  const field = book.field(series.items[1], 0);
  assert.equal(field.at(20, 21), 0);
  assert.equal(field.at(63, 63) === null || field.at(63, 63) === 0, false);
  assert.ok([...Array(63).keys()].some((k) => field.at(63, k) === null));
});

test("a head that is not asked for is not decoded", () => {
  const fresh = new Book(fixture.meta, (block) => fixture.blocks[block]);
  fresh.thumb(fixture.meta.series[0].items[0], 0);
  assert.equal(fresh.decoded.size, 0);
  fresh.field(fixture.meta.series[0].items[0], 2);
  assert.equal(fresh.decoded.size, 1);
});

test("hidden keys leave, and each row has the sum that it had", () => {
  const field = book.field(fixture.meta.series[0].items[0], 1);
  const hidden = hideTokens(field, new Set([0, 4]), new Set(), true);
  for (let q = 5; q < field.rows; q++) {
    assert.equal(hidden.at(q, 0), null);
    assert.equal(hidden.mark(q, 4), MARK.hidden);
    const sum = hidden.row(q).reduce((a, v) => a + (v || 0), 0);
    assert.ok(Math.abs(sum - 1) < 1e-5);
    const ratio = hidden.number(q, 2) / hidden.number(q, 3);
    assert.ok(Math.abs(ratio - field.number(q, 2) / field.number(q, 3)) < 1e-4);
  }
  assert.equal(hideTokens(field, new Set([0]), new Set(), false).at(5, 2), field.at(5, 2));
});

test("what multiplies a row multiplies its error", () => {
  const field = new Field(2, 4, Float32Array.of(0.9, 0.06, 0.04, 0, 0.5, 0.5, 0, 0), { error: 0.002 });
  const hidden = hideTokens(field, new Set([0]), new Set(), true);
  assert.ok(Math.abs(rescaling(field, hidden, 0) - 10) < 1e-4);
  assert.ok(Math.abs(rescaling(field, hidden, 1) - 2) < 1e-6);
  assert.ok(Math.abs(hidden.error - 0.02) < 1e-6);
  assert.equal(rescaling(field, hideTokens(field, new Set([0]), new Set(), false), 0), 1);
  assert.equal(rescaling(field, keepShare(field, 0.5), 0), 1);
});

test("hiding in a sparse row counts what the file leaves out", () => {
  const field = new Field(1, 4, Float32Array.of(0.4, 0.1, 0, 0), { marks: Uint8Array.of(0, 0, 5, 5), kept: Uint8Array.of(127) });
  const hidden = hideTokens(field, new Set([0]), new Set(), true);
  const mass = 0.5 / (127 / 255);
  assert.ok(Math.abs(hidden.number(0, 1) - (0.1 * mass) / (mass - 0.4)) < 1e-6);
});

test("a threshold keeps the fewest largest weights that hold the share", () => {
  const field = new Field(2, 4, Float32Array.of(0.5, 0.3, 0.15, 0.05, 0.25, 0.25, 0.25, 0.25));
  const kept = keepShare(field, 0.8);
  assert.deepEqual([0, 1, 2, 3].map((k) => kept.mark(0, k)), [0, 0, MARK.below, MARK.below]);
  assert.deepEqual([0, 1, 2, 3].map((k) => kept.mark(1, k)), [0, 0, 0, 0]);
  assert.equal(leastOfShare(Float32Array.of(1, 2, 3), 4), 2);
});

test("mean, largest and difference of heads", () => {
  const one = new Field(1, 3, Float32Array.of(1, 2, 0), { marks: Uint8Array.of(0, 0, MARK.leftOut), kept: Uint8Array.of(255) });
  const other = new Field(1, 3, Float32Array.of(3, NaN, 0.5), { marks: Uint8Array.of(0, MARK.nan, 0), kept: Uint8Array.of(51) });
  const mean = combine([one, other], "mean");
  assert.equal(mean.at(0, 0), 2);
  assert.ok(Number.isNaN(mean.at(0, 1)));
  assert.equal(mean.at(0, 2), 0.25);
  assert.equal(mean.keptShare(0), 153 / 255);
  assert.equal(combine([one, other], "max").at(0, 0), 3);
  const minus = difference(one, other);
  assert.equal(minus.at(0, 0), -2);
  assert.equal(minus.at(0, 2), null);
});

test("halving keeps a thin diagonal, and one NaN among many", () => {
  const n = 64;
  const data = new Float32Array(n * n);
  for (let i = 1; i < n; i++) data[i * n + i - 1] = 1;
  let field = new Field(n, n, data);
  for (let size = n; size > 4; size /= 2) {
    field = halve(field, false);
    for (let i = 0; i < field.rows; i++) assert.equal(field.at(i, i), 1);
  }
  const odd = new Float32Array(16).fill(0.5);
  odd[5] = NaN;
  assert.ok(Number.isNaN(halve(halve(new Field(4, 4, odd), false), false).at(0, 0)));
  const signed = new Field(2, 2, Float32Array.of(0.1, -3, 0.2, 0));
  assert.equal(halve(signed, true).at(0, 0), -3);
});

test("an address holds a state, and a foolish one does no harm", () => {
  const state = { ...structuredClone(FIRST_STATE), layer: 3, head: 5, query: 12, view: "lines", hide: [1, 2], find: "a&b=c %", specials: true };
  const fragment = toFragment(/** @type {any} */ (state));
  assert.match(fragment, /^layer=3&head=5&query=12/);
  assert.deepEqual(fromFragment(`#${fragment}`), { layer: 3, head: 5, query: 12, view: "lines", hide: [1, 2], find: "a&b=c %", specials: true });
  assert.deepEqual(fromFragment("#layer=%E0%A4%A&__proto__=1&constructor=2&nothing=4&zoom=1,2"), {});
  for (const text of ["#layer=999&head=-4&query=1e9&key=NaN&view=<b>&call=77&zoom=1,2,1e9&range=3,1&brush=9,1,70,2&threshold=x", "#series=99&pin=9,9,9,9,9"]) {
    const odd = /** @type {any} */ ({ ...structuredClone(FIRST_STATE), ...fromFragment(text) });
    settleState(odd, book);
    const series = fixture.meta.series[odd.series];
    const item = book.item(series, odd.layer, odd.call, odd.batch);
    assert.ok(item && odd.query < item.rows && odd.key < item.columns && odd.head < item.heads);
  }
});

test("labels name tokens, patches, prefix cells and a sequence of both", () => {
  const joined = new Labels(fixture.meta, 2, 57);
  assert.equal(joined.short(0), "CLS");
  assert.equal(joined.short(2), "0,0");
  assert.equal(joined.short(50), "6,6");
  assert.equal(joined.short(51), "What");
  assert.equal(joined.long(10), "10 (patch row 1, column 1)");
  assert.equal(joined.across, 7);
  const words = new Labels(fixture.meta, 0, 17);
  assert.deepEqual(words.search("CAT"), [2, 10]);
  assert.ok(words.special(0) && !words.special(1));
  assert.equal(new Labels(fixture.meta, 3, 9).short(8), "8", "a map may be longer than its tokens");
});

test("numbers are written with four digits, and shares are not rounded to all", () => {
  assert.deepEqual([0.123456, 0, 1, -0.00012346, 123456, null, NaN].map(fourDigits), ["0.1235", "0", "1.000", "−0.0001235", "1.235e+5", "–", "NaN"]);
  assert.equal(percent(0.9999), "> 99.9 %");
  assert.equal(percent(1), "100.0 %");
  assert.equal(niceStep(2048, 10), 500);
  assert.deepEqual([axisNumber(4.297, 0.006), axisNumber(4.303, 0.006), axisNumber(12, 40)], ["4.2970", "4.3030", "12"]);
});

test("texts of a user stay texts in an SVG, and show what cannot be seen", () => {
  assert.equal(escapeXml('<a href="x">&\u0000'), "&#60;a href=&#34;x&#34;&#62;&#38;�");
  assert.equal(visibleText("a\n\u202eb"), "a␊·b");
});

/**
 * A number with four significant digits, as a person writes it.
 * @param {number|null} value
 * @returns {string}
 */
export function fourDigits(value) {
  if (value === null) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e5 || size < 1e-4 ? value.toExponential(3) : value.toPrecision(4);
  return text.replace("-", "−");
}

/**
 * A short number for an axis or a colour bar.
 * @param {number} value
 * @returns {string}
 */
export function shortNumber(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e4 || size < 1e-3)) return value.toExponential(1).replace("-", "−");
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

/**
 * A number of an axis, with as many decimals as tell its ends apart.
 * @param {number} value
 * @param {number} span of the axis
 * @returns {string}
 */
export function axisNumber(value, span) {
  if (!(span > 0) || span >= 1e4 || span < 1e-4) return shortNumber(value);
  return value.toFixed(Math.max(0, Math.ceil(1.5 - Math.log10(span)))).replace("-", "−");
}

/**
 * @param {number} share
 * @returns {string} such as "98.2 %"; never "100.0 %" of what is less
 */
export function percent(share) {
  const rounded = Math.round(share * 1000) / 10;
  if (rounded === 100 && share < 1) return "> 99.9 %";
  return `${rounded.toFixed(1)} %`;
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 * @returns {number}
 */
export function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

/**
 * Round steps that label about `wanted` places of 0 … n - 1.
 * @param {number} n
 * @param {number} wanted
 * @returns {number}
 */
export function niceStep(n, wanted) {
  const rough = Math.max(1, n / Math.max(1, wanted));
  const power = 10 ** Math.floor(Math.log10(rough));
  for (const factor of [1, 2, 5, 10]) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

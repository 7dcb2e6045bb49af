/* The values on an axis: from 0 to the first round number that reaches the highest value. */
const COUNT_STEP_MIN = 1;
const RATE_STEP_MIN = 0.0001;

export function axisValues(max, { isRate }, linesMax) {
  const rough = Math.max(isRate ? RATE_STEP_MIN : COUNT_STEP_MIN, max / linesMax);
  const power = 10 ** Math.floor(Math.log10(rough));
  // Rounding: 2.9999999 lines of a step count as three.
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough * (1 - 1e-9));
  const count = Math.max(1, Math.ceil(max / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, i) => i * step);
}

/** Uses as few decimals as distinguish all values, the same number for each. */
export function axisTexts(values, { isRate }) {
  const sets = [0, 1, 2].map((digits) => values.map((value) => textOf(value, digits, isRate)));
  return sets.find((texts, digits) => texts.every((text, i) => isExact(values[i], text, digits, isRate))) ?? sets[2];
}

function textOf(value, digits, isRate) {
  const decimals = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  if (isRate) return value.toLocaleString("en", value === 0 ? { style: "percent" } : { style: "percent", ...decimals });
  return value.toLocaleString("en", value < 1_000 ? {} : { notation: "compact", ...decimals });
}

function isExact(value, text, digits, isRate) {
  return Number.parseFloat(text) === Number.parseFloat(textOf(value, digits + 2, isRate));
}

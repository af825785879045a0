// What the columns hold among the rows that match: values to choose with their counts, and small histograms.

import { make } from "./common.js";

const LISTED = 6;
const MANY = 0.9;
const BARS = 10;

const count = (number) => number.toLocaleString("en");
const short = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 2 }) : String(value).slice(0, 10));

function option(label, rows, pressed, choose) {
  const button = make("button", { type: "button", className: "chip", "aria-pressed": String(pressed) },
    make("span", {}, label), make("span", { className: "muted" }, count(rows)));
  button.addEventListener("click", choose);
  return make("li", {}, button);
}

// Which of a column's values are chosen: `{"brand": "HP"}`, `{"brand": {"=": "HP"}}` or a list of them.
function chosenOf(condition) {
  if (Array.isArray(condition)) return condition;
  if (condition?.in) return condition.in;
  if (condition !== undefined && Object(condition) !== condition) return [condition];
  return condition && "=" in condition ? [condition["="]] : [];
}

function values(name, facet, condition, choose) {
  const chosen = chosenOf(condition);
  const all = facet.values.reduce((sum, { count: rows }) => sum + rows, 0) + facet.other;
  // A column in which nearly each row has a value of its own has nothing to choose.
  if (!facet.values.length || (facet.distinct > LISTED && facet.distinct > MANY * all)) return null;
  const toggle = (value) => {
    const next = chosen.includes(value) ? chosen.filter((each) => each !== value) : [...chosen, value];
    if (!next.length) return undefined;
    return next.length > 1 ? next : typeof value === "boolean" ? next[0] : { "=": next[0] };
  };
  const listed = facet.values.slice(0, LISTED);
  return [make("ul", { className: "chips" }, ...listed.map(({ value, count: rows }) =>
    option(value === true ? "yes" : value === false ? "no" : value, rows, chosen.includes(value), () => choose(name, toggle(value))))),
  facet.distinct > listed.length ? make("span", { className: "muted" }, `${count(facet.distinct - listed.length)} more values`) : null];
}

// No more bars than there is room for, each wide enough for a finger.
function widened(bins) {
  const size = Math.ceil(bins.length / BARS);
  return Array.from({ length: Math.ceil(bins.length / size) }, (_, group) => {
    const some = bins.slice(group * size, (group + 1) * size);
    return { from: some[0].from, to: some.at(-1).to, count: some.reduce((sum, each) => sum + each.count, 0) };
  });
}

// A bar for each bin, whose click takes its range; a second click takes it back.
function histogram(name, facet, condition, choose) {
  const bins = widened(facet.bins);
  if (bins.length < 2) return null;
  const most = Math.max(1, ...bins.map((bin) => bin.count));
  const bars = bins.map((bin, place) => {
    const last = place === bins.length - 1;
    const range = { ">=": bin.from, [last ? "<=" : "<"]: bin.to };
    const pressed = JSON.stringify(condition) === JSON.stringify(range);
    const fill = make("span", { className: "bin", "aria-hidden": "true" });
    fill.style.height = `${Math.max(bin.count ? 6 : 0, (100 * bin.count) / most)}%`;
    const button = make("button", { type: "button", "aria-pressed": String(pressed), title: `${short(bin.from)} – ${short(bin.to)}: ${count(bin.count)}`,
      "aria-label": `${name}, ${short(bin.from)} to ${short(bin.to)}: ${count(bin.count)}` }, fill);
    button.addEventListener("click", () => choose(name, pressed ? undefined : range));
    return make("li", {}, button);
  });
  return [make("ul", { className: "bins" }, ...bars),
    make("span", { className: "muted ends" }, make("span", {}, short(facet.min)), make("span", {}, short(facet.max)))];
}

export function facetOf(name, facet, condition, choose) {
  const inside = facet.kind === "values" ? values(name, facet, condition, choose) : histogram(name, facet, condition, choose);
  return inside && make("div", { className: "facet", role: "group", "aria-label": `Values of ${name}` }, make("strong", {}, name), ...inside);
}

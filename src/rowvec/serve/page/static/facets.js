// What the columns hold among the rows that match: values to choose with their counts, and small histograms.

import { make, postJson } from "./common.js";
import { EMPTY } from "./filters.js";
import { number, shown, titleColumn } from "./hits.js";

const LISTED = 6;
const MANY = 0.9;
const BARS = 10;
const COUNTED = new Set(["boolean", "text", "integer", "number", "decimal", "date", "timestamp"]);
const FACETS = 8;

const count = (rows) => rows.toLocaleString("en");

// Two decimals; all of a number below one, whose bins would look alike.
function short(value) {
  if (typeof value !== "number") return String(value).slice(0, 10);
  return number(Math.abs(value) < 1 ? value : Math.round(100 * value) / 100);
}

// `data-key` says which button it is when the same facet is drawn again.
function option(name, label, rows, pressed, choose) {
  const button = make("button", { type: "button", className: "chip", "aria-pressed": String(pressed) },
    make("span", {}, label), make("span", { className: "muted" }, count(rows)));
  button.dataset.key = `${name}\n${label}`;
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

function values(name, facet, condition, choose, open) {
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
    option(name, shown(value) ?? EMPTY, rows, chosen.includes(value), () => choose(name, toggle(value))))),
  facet.distinct > listed.length ? others(name, facet.distinct - listed.length, open) : null];
}

function others(name, left, open) {
  const button = make("button", { type: "button", className: "link" }, `${count(left)} more ${left === 1 ? "value" : "values"}`);
  button.dataset.key = name;
  button.addEventListener("click", () => open(name));
  return button;
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
    button.dataset.key = `${name}\n${place}`;
    button.addEventListener("click", () => choose(name, pressed ? undefined : range));
    return make("li", {}, button);
  });
  return [make("ul", { className: "bins" }, ...bars),
    make("span", { className: "muted ends" }, make("span", {}, short(facet.min)), make("span", {}, short(facet.max)))];
}

function facetOf(name, facet, condition, choose, open) {
  const inside = facet.kind === "values" ? values(name, facet, condition, choose, open) : histogram(name, facet, condition, choose);
  return inside && make("div", { className: "facet", role: "group", "aria-label": `Values of ${name}` }, make("strong", {}, name), ...inside);
}

// Columns whose values are counted: those that a facet can list, and no more than the page has room for.
const faceted = ({ columns, card }) =>
  columns.filter(({ name, type }) => COUNTED.has(type) && name !== titleColumn(columns, card)).map(({ name }) => name).slice(0, FACETS);

// What the columns hold depends on the filters alone: it is counted beside the hits, and once for many queries. Its room
// is kept free, so that nothing jumps when it comes.
export class Facets {
  #counted = null;

  // `choose(name, condition)` filters by a column, `open(name)` shows the field that takes any value of it; `otherwise`
  // takes the focus that a button had which is gone.
  constructor(box, { choose, open, otherwise }) {
    Object.assign(this, { box, choose, open, otherwise });
  }

  async count(pipeline, filters, shown) {
    const columns = faceted(pipeline);
    this.box.hidden = !shown || !columns.length;
    if (this.box.hidden) return;
    const body = { limit: 1, passages: 0, filters: filters.read(), facets: columns };
    const wanted = JSON.stringify([pipeline.name, body]);
    if (wanted === this.#counted) return;
    this.#counted = wanted;
    try {
      const { facets } = await postJson(`pipelines/${encodeURIComponent(pipeline.name)}/search/browse`, body);
      if (wanted === this.#counted) this.#draw(facets, filters);
    } catch {
      // The hits are there all the same, or the error is theirs too.
      if (wanted !== this.#counted) return;
      this.#counted = null;
      this.box.hidden = true;
    }
  }

  #draw(facets, filters) {
    const lists = Object.entries(facets.columns).map(([name, facet]) => facetOf(name, facet, filters.get(name), this.choose, this.open)).filter(Boolean);
    const held = this.box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.box.replaceChildren(...lists);
    this.box.hidden = !lists.length;
    if (held) ([...this.box.querySelectorAll("button")].find(({ dataset }) => dataset.key === held) ?? this.otherwise).focus({ preventScroll: true });
  }
}

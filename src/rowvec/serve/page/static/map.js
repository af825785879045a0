// The page of the map: which colours, which hits, what a point is.

import { ask, askJson, choosePipeline, Failure, make, notify } from "./common.js";
import { shown, titleColumn } from "./hits.js";
import { MapView } from "./map_view.js";

const byId = (id) => document.getElementById(id);
const [form, query, columns, summary, legend, card, hits] =
  ["search", "query", "column", "summary", "legend", "card", "hits"].map(byId);
const MODES = { hybrid: "Meaning + words", semantic: "Meaning", keyword: "Words" };
const [OTHER, NONE] = [253, 254];
const LIMIT = 100;
const LISTED = 10;
const ROWS_KEPT = 500;

const view = new MapView(byId("canvas"), onPoint);
const rows = new Map();
const hidden = new Set();
let pipeline;
let map;
let running;

// The points and their colours: a header as JSON behind its length, x and y as 16 bits each, a byte for each colour.
async function load(column) {
  const asked = new URLSearchParams({ pipeline: pipeline.name, ...(column !== undefined && { column }) });
  const body = await (await ask(`ui/map/points?${asked}`)).arrayBuffer();
  const start = 4 + new DataView(body).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 4, start - 4)));
  const places = new Uint16Array(body, start, 2 * header.points);
  const codes = new Uint8Array(body, start + places.byteLength, header.points);
  if (map?.version !== header.version) rows.clear();
  map = { ...header, places, codes };
  hidden.clear();
}

function rgb(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16));
}

const variable = (code) =>
  (code === OTHER || code === NONE ? (map.column ? "--other" : "--c0") : `--${map.kind === "steps" ? "s" : "c"}${code}`);

// Steps are spread over all shades, however few there are.
const shade = (code) => (map.kind === "steps" && code < OTHER && map.legend.length > 1
  ? Math.round((6 * code) / (map.legend.length - 1)) : code);

function draw() {
  const palette = [];
  for (const code of [...map.legend.keys(), OTHER, NONE]) if (!hidden.has(code)) palette[code] = rgb(variable(shade(code)));
  view.show(map.places, map.codes, palette, { ground: rgb("--paper"), ink: rgb("--ink") });
}

function describe() {
  const names = map.columns.map((name) => make("option", { value: name }, name));
  columns.replaceChildren(...names, make("option", { value: "" }, "nothing"));
  columns.value = map.column ?? "";
  byId("canvas").setAttribute("aria-label", `Map of ${map.points} rows`);
  const entries = map.legend.map(({ label, rows: count }, code) => [code, label, count]);
  if (map.other) entries.push([OTHER, "other", map.other]);
  if (map.none && map.column) entries.push([NONE, "none", map.none]);
  legend.replaceChildren(...entries.map(([code, label, count]) => {
    const swatch = make("i", { "aria-hidden": "true" });
    swatch.style.background = `var(${variable(shade(code))})`;
    const button = make("button", { type: "button", className: "quiet", "aria-pressed": "true" },
      swatch, label, make("span", { className: "muted" }, count.toLocaleString("en")));
    button.addEventListener("click", () => toggle(code, button));
    return make("li", {}, button);
  }));
  byId("stale").hidden = !stale();
  byId("stale").textContent = stale();
}

function toggle(code, button) {
  if (!hidden.delete(code)) hidden.add(code);
  button.setAttribute("aria-pressed", String(!hidden.has(code)));
  draw();
}

const rowsAre = (count, one, more) => `${count.toLocaleString("en")} ${count === 1 ? `row ${one}` : `rows ${more}`}`;

function stale() {
  const parts = [
    map.other_model && "these positions come from another model's vectors",
    map.missing && `${rowsAre(map.missing, "is", "are")} not on the map`,
    map.changed && `${rowsAre(map.changed, "has", "have")} a new vector since it was drawn`,
    map.gone && `${rowsAre(map.gone, "is", "are")} gone`,
  ].filter(Boolean).join(", ");
  return parts && `${parts[0].toUpperCase()}${parts.slice(1)}. rowvec map ${pipeline.name} draws it again.`;
}

function summarise() {
  const drawn = new Date(map.made_at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  summary.textContent = `${(map.points - map.gone).toLocaleString("en")} rows, drawn ${drawn}.`;
}

const heading = ({ id, metadata }) => shown(metadata[titleColumn(pipeline.columns)] ?? null) || `Row ${id}`;

function similar({ id, metadata }) {
  const state = new URLSearchParams({ pipeline: pipeline.name, like: id, title: heading({ id, metadata }) });
  return `../?${state}`;
}

async function rowOf(point) {
  if (!rows.has(point)) {
    const asked = new URLSearchParams({ pipeline: pipeline.name, point, version: map.version });
    rows.set(point, await askJson(`ui/map/row?${asked}`));
    if (rows.size > ROWS_KEPT) rows.delete(rows.keys().next().value);
  }
  return rows.get(point);
}

// A pointer that passes shows what it is over; a click goes to the similar rows, a touch shows the way to them.
async function onPoint(point, click) {
  view.mark(point);
  byId("canvas").style.cursor = point < 0 ? "" : "pointer";
  if (point < 0) {
    card.hidden = true;
    return;
  }
  try {
    const row = await rowOf(point);
    if (click && click.pointerType !== "touch") location.assign(similar(row));
    else if (view.current === point) showCard(point, row);
  } catch (error) {
    if (view.current === point) showCard(point, null, error);
  }
}

function showCard(point, row, error) {
  if (error) {
    card.replaceChildren(make("strong", {}, error.message), error.hint ? make("p", {}, error.hint) : "");
  } else {
    const title = titleColumn(pipeline.columns);
    const details = Object.entries(row.metadata).filter(([name, value]) => name !== title && shown(value) !== null);
    card.replaceChildren(make("strong", {}, heading(row)),
      make("dl", {}, ...details.slice(0, 6).map(([name, value]) =>
        make("div", {}, make("dt", {}, name), make("dd", {}, shown(value))))),
      make("a", { href: similar(row) }, "Similar rows"));
  }
  card.hidden = false;
  placeCard(...view.position(point));
}

// Beside the point where there is room, else above or below it: the point stays in sight.
function placeCard(x, y) {
  const [wide, high, gap] = [card.offsetWidth, card.offsetHeight, 14];
  const within = (value, size, whole) => Math.min(Math.max(8, value), Math.max(8, whole - size - 8));
  const side = x > view.width / 2 ? x - wide - gap : x + gap;
  const beside = side >= 8 && side + wide <= view.width - 8;
  const left = beside ? side : within(x - wide / 2, wide, view.width);
  const top = beside ? within(y - high / 2, high, view.height) : y > view.height / 2 ? y - high - gap : y + gap;
  card.style.left = `${left}px`;
  card.style.top = `${top}px`;
}

async function search() {
  running?.abort();
  const mine = running = new AbortController();
  const text = query.value.trim();
  notify(null);
  if (!text) {
    hits.replaceChildren();
    view.highlight([]);
    summarise();
    return;
  }
  document.body.classList.add("working");
  try {
    const asked = new URLSearchParams({
      pipeline: pipeline.name, query: text, mode: form.elements.mode.value, limit: LIMIT, version: map.version,
    });
    const found = (await askJson(`ui/map/search?${asked}`, { signal: mine.signal })).hits;
    const placed = found.filter(({ point }) => point !== null);
    for (const hit of placed) rows.set(hit.point, hit);
    view.highlight(placed.map(({ point }) => point));
    list(found);
    const absent = found.length - placed.length;
    summary.textContent = found.length
      ? `The ${found.length} nearest rows are lit${absent ? `; ${absent} of them are not on the map` : ""}.`
      : "Nothing found. Say it in other words.";
  } catch (error) {
    if (error.name === "AbortError") return;
    notify(error);
    view.highlight([]);
    hits.replaceChildren();
  } finally {
    if (mine === running) document.body.classList.remove("working");
  }
}

function list(found) {
  hits.replaceChildren(...found.slice(0, LISTED).map((hit) => {
    const link = make("a", { href: similar(hit) }, heading(hit));
    const light = () => hit.point !== null && view.mark(hit.point);
    link.addEventListener("focus", light);
    link.addEventListener("pointerenter", light);
    return make("li", {}, link, make("span", { className: "score" }, hit.score.toFixed(3)));
  }));
}

function useModes() {
  const offered = Object.keys(MODES).filter((name) => pipeline.modes.includes(name));
  form.querySelector(".modes").replaceChildren(form.querySelector(".modes legend"), ...offered.map((name, index) =>
    make("label", {}, make("input", { type: "radio", name: "mode", value: name, checked: !index }), make("span", {}, MODES[name]))));
}

async function open(column) {
  try {
    await load(column);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    byId("map").hidden = true;
    query.disabled = columns.disabled = true;
    summary.textContent = "";
    notify(error);
    return;
  }
  notify(null);
  byId("map").hidden = false;
  query.disabled = columns.disabled = false;
  view.resize();
  describe();
  draw();
  if (query.value.trim()) await search();
  else summarise();
}

function listen() {
  form.addEventListener("submit", (event) => (event.preventDefault(), search()));
  form.addEventListener("change", (event) => (event.target === columns ? open(columns.value) : search()));
  query.addEventListener("search", () => query.value || search());
  byId("closer").addEventListener("click", () => view.zoom(1.6));
  byId("farther").addEventListener("click", () => view.zoom(1 / 1.6));
  byId("whole").addEventListener("click", () => view.fit());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => map && draw());
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select, dialog")) query.focus(), query.select();
    else if (event.key === "Escape" && query.value) query.value = "", search();
    else return;
    event.preventDefault();
  });
}

try {
  listen();
  const use = async (chosen) => {
    pipeline = chosen;
    useModes();
    rows.clear();
    hits.replaceChildren();
    view.highlight([]);
    await open();
  };
  await use(await choosePipeline(use));
} catch (error) {
  summary.textContent = "";
  notify(error);
}

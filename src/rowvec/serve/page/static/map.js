// The page of the map: which colours, which hits, what a point is, which rows are chosen. Its state is the address.

import { ask, askJson, chip, choosePipeline, Failure, isSlash, make, modeOf, notify, offerModes, unknownParts } from "./common.js";
import { read, written } from "./area.js";
import { headingOf } from "./hits.js";
import { Area } from "./map_area.js";
import { content, place } from "./map_card.js";
import { decoded, rgb } from "./map_points.js";
import { Names } from "./map_names.js";
import { Rows } from "./map_rows.js";
import { MapView } from "./map_view.js";
import { entries, GONE, LEFT_OUT, lit, mix, NONE, OTHER, stale, summary as summarised, variable } from "./map_words.js";

const byId = (id) => document.getElementById(id);
const [form, query, columns, summary, legend, card, hits, canvas] =
  ["search", "query", "column", "summary", "legend", "card", "hits", "canvas"].map(byId);
const KNOWN = ["pipeline", "query", "mode", "column", "by", "filters", "hidden", "view", "row", "area", "only", "names"];
const BY = "by:";
const LIMIT = 100;
const LISTED = 10;
const RESTS = 60;
const STILL = 300;

const view = new MapView(canvas, onPoint, onView);
const names = new Names(byId("names"), view);
const area = new Area(view, {
  shows: (point) => view.codes[point] !== GONE && view.codes[point] !== LEFT_OUT && !hidden.has(view.codes[point]),
  rowsOf: (points) => rows.at(points),
  entry: (row) => listed(row),
  mix: (points) => mix(map, points.map((point) => view.codes[point])),
  changed: () => (names.place(taken()), write(true)),
  say: (text) => { summary.textContent = text ?? told(); },
});
const rows = new Rows((more) => asked(more));
const hidden = new Set();
let pipeline;
let map;
let filters = null;
let found = null;
let running;
let pinned = null;
let resting;
let settling;

const asked = (more) => new URLSearchParams({ pipeline: pipeline.name, version: map.version, ...more });

// The points and their colours.
// `chosen` is a column, or BY and how a row stands in the store; null for the column that shows most, "" for none.
async function load(chosen) {
  const colour = chosen === null ? {} : chosen.startsWith(BY) ? { by: chosen.slice(BY.length) } : { column: chosen };
  const wanted = new URLSearchParams({ pipeline: pipeline.name, ...colour, ...(filters && { filters }) });
  const body = await (await ask(`ui/map/points?${wanted}`)).arrayBuffer();
  const sent = decoded(body);
  const drawn = map?.version === sent.version && map.pipeline === pipeline.name;
  map = { ...sent, pipeline: pipeline.name };
  hidden.clear();
  if (drawn) return;
  rows.clear();
  names.show([]);
  nameClusters();
}

// Beside the points, which are seen before it is known what they are about.
async function nameClusters() {
  const mine = map;
  try {
    const clusters = await askJson(`ui/map/names?${asked()}`);
    if (mine.version !== map?.version || mine.pipeline !== map.pipeline) return;
    names.show(clusters);
    names.place(taken());
  } catch {
    // The map is of use without them.
  }
}

// The address

function address() {
  const state = new URLSearchParams();
  const set = (name, value) => value && state.set(name, value);
  set("pipeline", byId("pipeline").options.length > 1 && pipeline.name);
  set("query", query.value.trim());
  set("mode", query.value.trim() && form.elements.mode.value !== pipeline.modes.at(-1) && form.elements.mode.value);
  if (map?.chosen?.startsWith(BY)) state.set("by", map.chosen.slice(BY.length));
  else if (map && map.chosen !== null) state.set("column", map.chosen);
  set("filters", filters);
  set("hidden", hidden.size && [...hidden].join(","));
  set("view", view.where()?.map((value, at) => (at < 2 ? Math.round(value) : value.toFixed(2))).join(","));
  if (pinned !== null) state.set("row", pinned);
  set("area", area.polygon && written(area.polygon));
  set("only", area.only && "yes");
  set("names", byId("names").hidden && "no");
  return `?${state}`;
}

// Another search or colour is a place to come back to; another view of it is not.
function write(push) {
  clearTimeout(settling);
  const wanted = address();
  if (wanted === (location.search || "?")) return;
  if (push) history.pushState(null, "", wanted);
  else history.replaceState(null, "", wanted);
}

async function restore() {
  const state = new URLSearchParams(location.search);
  query.value = state.get("query") ?? "";
  form.elements.mode.value = modeOf(state, pipeline);
  filters = state.get("filters");
  showNames(state.get("names") !== "no");
  area.use(null);
  if (!(await open(state.has("by") ? BY + state.get("by") : state.get("column")))) return;
  for (const code of (state.get("hidden") ?? "").split(",").filter(Boolean).map(Number)) hide(code);
  const seen = (state.get("view") ?? "").split(",").map(Number);
  if (seen.length === 3 && seen.every(Number.isFinite)) view.look(...seen);
  else view.fit();
  draw();
  const polygon = state.has("area") ? read(state.get("area")) : null;
  area.show(polygon, state.get("only") === "yes");
  await pin(state.get("row"));
  const warning = state.has("area") && !polygon ? "The address has an area that cannot be." : unknownParts(state, KNOWN);
  if (warning) notify(new Failure(warning));
}

// Colours

function draw() {
  const palette = [];
  for (const code of [...map.legend.keys(), OTHER, NONE]) if (!hidden.has(code)) palette[code] = rgb(variable(map, code));
  view.show(map.places, map.codes, palette, { ground: rgb("--paper"), ink: rgb("--ink") });
}

function describe() {
  const aspects = Object.entries(map.aspects).map(([name, words]) => make("option", { value: BY + name }, words));
  const offered = map.columns.map((name) => make("option", { value: name }, name));
  columns.replaceChildren(
    ...(offered.length ? [make("optgroup", { label: "Column" }, ...offered)] : []),
    make("optgroup", { label: "State" }, ...aspects), make("option", { value: "" }, "nothing"));
  columns.value = map.by ? BY + map.by : map.column ?? "";
  canvas.setAttribute("aria-label", `Map of ${map.points.toLocaleString("en")} rows`);
  legend.replaceChildren(...entries(map).map(([code, label, count]) => {
    const swatch = make("i", { "aria-hidden": "true" });
    swatch.style.background = `var(${variable(map, code)})`;
    const button = make("button", { type: "button", className: "quiet", "aria-pressed": "true" },
      swatch, label, make("span", { className: "muted" }, count.toLocaleString("en")));
    button.dataset.code = code;
    button.addEventListener("click", () => (hide(code, !hidden.has(code)), draw(), area.refresh(), write(true)));
    return make("li", {}, button);
  }));
  showChips();
  byId("stale").textContent = stale(map, pipeline.name);
  byId("stale").hidden = !byId("stale").textContent;
}

// What the rows of the map are among, to be taken away; it came with the address, as that of a search does.
function showChips() {
  byId("chips").hidden = !filters;
  if (!filters) return;
  byId("chips").replaceChildren(chip(filters, async () => {
    filters = null;
    if (await open(map.chosen)) write(true);
    query.focus();
  }));
}

function showNames(shown) {
  byId("names").hidden = !shown;
  byId("naming").setAttribute("aria-pressed", String(shown));
  names.place(taken());
}

// Where on the canvas something else stands than names.
function taken() {
  const stage = canvas.getBoundingClientRect();
  return [document.querySelector(".zoom"), card].filter((each) => !each.hidden).map((each) => {
    const box = each.getBoundingClientRect();
    return [box.left - stage.left, box.top - stage.top, box.width, box.height];
  });
}

function hide(code, gone = true) {
  const button = legend.querySelector(`[data-code="${code}"]`);
  if (!button) return;
  if (gone) hidden.add(code);
  else hidden.delete(code);
  button.setAttribute("aria-pressed", String(!gone));
}

// What is said of the hits, or of the whole map.
const told = () => (found ? lit(found) : summarised(map));

// Points

const similar = ({ id }) => `../?${new URLSearchParams({ pipeline: pipeline.name, like: id })}`;
const page = ({ id }) => `row?${new URLSearchParams({ pipeline: pipeline.name, id })}`;

// A pointer that rests shows what it is over; a click, a touch or a key keeps it there, with the ways that lead on.
function onPoint(point, event) {
  clearTimeout(resting);
  if (!event && pinned !== null) return;
  view.mark(point);
  canvas.style.cursor = point < 0 ? "" : "pointer";
  if (point < 0) {
    card.hidden = true;
    if (event) unpin();
    return;
  }
  if (event) showPoint(point, true);
  else resting = setTimeout(() => showPoint(point, false), rows.has(point) ? 0 : RESTS);
}

async function showPoint(point, stays) {
  try {
    const row = await rows.of(point);
    if (view.current !== point) return;
    if (stays) {
      pinned = String(row.id);
      write(false);
    }
    showCard(point, row);
  } catch (error) {
    if (view.current === point) showCard(point, null, error);
  }
}

async function pin(id) {
  pinned = null;
  view.mark(-1);
  card.hidden = true;
  if (id === null) return;
  const row = await rows.withId(id);
  pinned = String(row.id);
  view.mark(row.point);
  view.reveal(row.point);
  showCard(row.point, row);
}

function unpin() {
  if (pinned === null) return;
  pinned = null;
  view.mark(-1);
  card.hidden = true;
  write(false);
}

function showCard(point, row, error) {
  card.replaceChildren(...(error ? [make("strong", {}, error.message), error.hint ? make("p", {}, error.hint) : ""]
    : content(row, pipeline, { row: page(row), similar: similar(row) })));
  card.hidden = false;
  place(card, view, ...view.position(point));
  names.place(taken());
}

// The card stays beside its point while the map moves; the address follows when it has come to rest.
function onView() {
  if (!map) return;
  if (!card.hidden && view.current >= 0) place(card, view, ...view.position(view.current));
  names.place(taken());
  clearTimeout(settling);
  settling = setTimeout(() => write(false), STILL);
}

// Hits

async function search() {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  const text = query.value.trim();
  document.title = text ? `${text} · Map · rowvec` : "Map · rowvec";
  notify(null);
  found = null;
  if (!text) {
    hits.replaceChildren();
    view.highlight([]);
    summary.textContent = told();
    return;
  }
  document.body.classList.add("working");
  try {
    const wanted = asked({ query: text, mode: form.elements.mode.value, limit: LIMIT, ...(filters && { filters }) });
    const reply = (await askJson(`ui/map/search?${wanted}`, { signal: mine.signal })).hits;
    const lit = reply.filter(({ point }) => point !== null);
    for (const hit of lit) rows.keep(hit);
    view.highlight(lit.map(({ point }) => point));
    list(reply);
    found = { all: reply.length, absent: reply.length - lit.length };
    summary.textContent = told();
  } catch (error) {
    if (error.name === "AbortError") return;
    notify(error);
    view.highlight([]);
    hits.replaceChildren();
  } finally {
    if (mine === running) document.body.classList.remove("working");
  }
}

// A link to the page of a row, which lights its point.
function listed(row) {
  const link = make("a", { href: page(row) }, headingOf(row, pipeline));
  const light = () => row.point !== null && pinned === null && view.mark(row.point);
  link.addEventListener("focus", light);
  link.addEventListener("pointerenter", light);
  return link;
}

function list(some) {
  hits.replaceChildren(...some.slice(0, LISTED).map((hit) => make("li", {}, listed(hit), make("span", { className: "score" }, hit.score.toFixed(3)))));
}

// Chosen as for `load`. False where there is no map.
async function open(chosen) {
  try {
    await load(chosen);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    map = undefined;
    byId("map").hidden = true;
    query.disabled = columns.disabled = true;
    summary.textContent = "";
    notify(error);
    return false;
  }
  map.chosen = chosen;
  notify(null);
  byId("map").hidden = false;
  query.disabled = columns.disabled = false;
  view.resize();
  describe();
  draw();
  area.refresh();
  await search();
  return true;
}

function submit() {
  if (!map) return;
  write(true);
  search();
}

function listen() {
  form.addEventListener("submit", (event) => (event.preventDefault(), submit()));
  form.addEventListener("change", async ({ target }) => {
    // What is typed is searched when it is sent: leaving the box sends nothing.
    if (target === query || !map) return;
    if (target !== columns) submit();
    else if (await open(columns.value)) write(true);
  });
  query.addEventListener("search", () => query.value || submit());
  byId("closer").addEventListener("click", () => view.zoom(1.6));
  byId("farther").addEventListener("click", () => view.zoom(1 / 1.6));
  byId("whole").addEventListener("click", () => view.fit());
  byId("naming").addEventListener("click", () => (showNames(byId("names").hidden), write(true)));
  canvas.addEventListener("keydown", ({ key, ctrlKey, metaKey, altKey }) => {
    if (ctrlKey || metaKey || altKey || !map) return;
    if (key === "r") area.use("rectangle");
    if (key === "l") area.use("lasso");
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => map && draw());
  document.addEventListener("keydown", (event) => {
    if (isSlash(event)) query.focus(), query.select();
    else if (event.key === "Enter" && event.target === canvas && pinned !== null) card.querySelector("a")?.focus();
    else if (event.key === "Escape" && pinned !== null) unpin(), canvas.focus();
    else if (event.key === "Escape" && query.value) query.value = "", submit();
    else return;
    event.preventDefault();
  });
}

async function use(chosen, fresh) {
  pipeline = chosen;
  offerModes(form.querySelector(".modes"), pipeline.modes);
  rows.clear();
  hits.replaceChildren();
  view.highlight([]);
  pinned = null;
  card.hidden = true;
  area.show(null, false);
  try {
    if (fresh) {
      history.pushState(null, "", `?${new URLSearchParams({ pipeline: pipeline.name, ...(query.value.trim() && { query: query.value.trim() }) })}`);
      view.touched = false;
    }
    await restore();
  } catch (error) {
    summary.textContent = "";
    notify(error);
  }
}

try {
  listen();
  await use(await choosePipeline((chosen) => use(chosen, true), (chosen) => use(chosen, false)), false);
} catch (error) {
  summary.textContent = "";
  notify(error);
}

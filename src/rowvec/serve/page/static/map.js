// The page of the map: which colours, which hits, what a point is. Its state is the address.

import { ask, askJson, choosePipeline, Failure, isSlash, make, modeOf, notify, offerModes, unknownParts } from "./common.js";
import { headingOf, shown, titleColumn } from "./hits.js";
import { MapView } from "./map_view.js";

const byId = (id) => document.getElementById(id);
const [form, query, columns, summary, legend, card, hits, canvas] =
  ["search", "query", "column", "summary", "legend", "card", "hits", "canvas"].map(byId);
const KNOWN = ["pipeline", "query", "mode", "column", "hidden", "view", "row"];
const [OTHER, NONE] = [253, 254];
const LIMIT = 100;
const LISTED = 10;
const ROWS_KEPT = 500;
const RESTS = 60;
const STILL = 300;

const view = new MapView(canvas, onPoint, onView);
const rows = new Map();
const hidden = new Set();
let pipeline;
let map;
let running;
let pinned = null;
let resting;
let settling;

// The points and their colours: a header as JSON behind its length, x and y as 16 bits each, a byte for each colour.
async function load(column) {
  const asked = new URLSearchParams({ pipeline: pipeline.name, ...(column !== null && { column }) });
  const body = await (await ask(`ui/map/points?${asked}`)).arrayBuffer();
  const start = 4 + new DataView(body).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 4, start - 4)));
  const places = new Uint16Array(body, start, 2 * header.points);
  const codes = new Uint8Array(body, start + places.byteLength, header.points);
  if (map?.version !== header.version) rows.clear();
  map = { ...header, places, codes };
  hidden.clear();
}

// The address

function address() {
  const state = new URLSearchParams();
  const set = (name, value) => value && state.set(name, value);
  set("pipeline", byId("pipeline").options.length > 1 && pipeline.name);
  set("query", query.value.trim());
  set("mode", query.value.trim() && form.elements.mode.value !== pipeline.modes.at(-1) && form.elements.mode.value);
  if (map && map.chosen !== null) state.set("column", map.chosen);
  set("hidden", hidden.size && [...hidden].join(","));
  set("view", view.where()?.map((value, at) => (at < 2 ? Math.round(value) : value.toFixed(2))).join(","));
  if (pinned !== null) state.set("row", pinned);
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
  if (!(await open(state.get("column")))) return;
  for (const code of (state.get("hidden") ?? "").split(",").filter(Boolean).map(Number)) hide(code);
  const seen = (state.get("view") ?? "").split(",").map(Number);
  if (seen.length === 3 && seen.every(Number.isFinite)) view.look(...seen);
  else view.fit();
  draw();
  await pin(state.get("row"));
  const warning = unknownParts(state, KNOWN);
  if (warning) notify(new Failure(warning));
}

// Colours

function rgb(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16));
}

function variable(code) {
  if (code === OTHER || code === NONE) return !map.column ? "--c0" : code === OTHER ? "--other" : "--none";
  return `--${map.kind === "steps" ? "s" : "c"}${code}`;
}

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
  canvas.setAttribute("aria-label", `Map of ${map.points.toLocaleString("en")} rows`);
  const entries = map.legend.map(({ label, rows: count }, code) => [code, label, count]);
  if (map.other) entries.push([OTHER, "other", map.other]);
  if (map.none && map.column) entries.push([NONE, "none", map.none]);
  legend.replaceChildren(...entries.map(([code, label, count]) => {
    const swatch = make("i", { "aria-hidden": "true" });
    swatch.style.background = `var(${variable(shade(code))})`;
    const button = make("button", { type: "button", className: "quiet", "aria-pressed": "true" },
      swatch, label, make("span", { className: "muted" }, count.toLocaleString("en")));
    button.dataset.code = code;
    button.addEventListener("click", () => (hide(code, !hidden.has(code)), draw(), write(true)));
    return make("li", {}, button);
  }));
  byId("stale").hidden = !stale();
  byId("stale").textContent = stale();
}

function hide(code, gone = true) {
  const button = legend.querySelector(`[data-code="${code}"]`);
  if (!button) return;
  if (gone) hidden.add(code);
  else hidden.delete(code);
  button.setAttribute("aria-pressed", String(!gone));
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

// Points

const similar = ({ id }) => `../?${new URLSearchParams({ pipeline: pipeline.name, like: id })}`;
const page = ({ id }) => `row?${new URLSearchParams({ pipeline: pipeline.name, id })}`;

function keep(row) {
  rows.set(row.point, row);
  if (rows.size > ROWS_KEPT) rows.delete(rows.keys().next().value);
  return row;
}

async function rowOf(point) {
  if (rows.has(point)) return rows.get(point);
  return keep(await askJson(`ui/map/row?${new URLSearchParams({ pipeline: pipeline.name, point, version: map.version })}`));
}

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
    const row = await rowOf(point);
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
  const row = keep(await askJson(`ui/map/row?${new URLSearchParams({ pipeline: pipeline.name, id, version: map.version })}`));
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
  if (error) {
    card.replaceChildren(make("strong", {}, error.message), error.hint ? make("p", {}, error.hint) : "");
  } else {
    const title = titleColumn(pipeline.columns, pipeline.card);
    const details = Object.entries(row.metadata).filter(([name, value]) => name !== title && shown(value) !== null);
    card.replaceChildren(make("strong", {}, headingOf(row, pipeline)),
      make("dl", {}, ...details.slice(0, 6).map(([name, value]) =>
        make("div", {}, make("dt", {}, name), make("dd", {}, shown(value))))),
      make("a", { href: page(row) }, "Open the row"), " · ", make("a", { href: similar(row) }, "Similar rows"));
  }
  card.hidden = false;
  placeCard(...view.position(point));
}

// The card stays beside its point while the map moves; the address follows when it has come to rest.
function onView() {
  if (!map) return;
  if (!card.hidden && view.current >= 0) placeCard(...view.position(view.current));
  clearTimeout(settling);
  settling = setTimeout(() => write(false), STILL);
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

// Hits

async function search() {
  running?.abort();
  const mine = running = new AbortController();
  const text = query.value.trim();
  document.title = text ? `${text} · Map · rowvec` : "Map · rowvec";
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
    const link = make("a", { href: page(hit) }, headingOf(hit, pipeline));
    const light = () => hit.point !== null && pinned === null && view.mark(hit.point);
    link.addEventListener("focus", light);
    link.addEventListener("pointerenter", light);
    return make("li", {}, link, make("span", { className: "score" }, hit.score.toFixed(3)));
  }));
}

// `column` null asks for the one that shows most. False where there is no map.
async function open(column) {
  try {
    await load(column);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    map = undefined;
    byId("map").hidden = true;
    query.disabled = columns.disabled = true;
    summary.textContent = "";
    notify(error);
    return false;
  }
  map.chosen = column;
  notify(null);
  byId("map").hidden = false;
  query.disabled = columns.disabled = false;
  view.resize();
  describe();
  draw();
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

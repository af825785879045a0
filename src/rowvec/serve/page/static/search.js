// The search page. Its state is the address, so that a search can be shared and the back button works.

import { askJson, chip, choosePipeline, Failure, isSlash, Locked, make, modeOf, noRows, notify, offerModes, parse, postJson, rowsIn, spoken, unknownParts, whole } from "./common.js";
import { Filters } from "./filters.js";
import { Facets } from "./facets.js";
import { cards, headingOf, keepFormer, missing, took } from "./hits.js";

const byId = (id) => document.getElementById(id);
const [form, query, hits, summary, limit, chips] = ["search", "query", "hits", "summary", "limit", "chips"].map(byId);
const KNOWN = ["pipeline", "query", "q", "mode", "filters", "like", "title", "limit", "pages", "browse", "typos"];
const MOST = 1000;
const PAGES = 50;
const PAUSE = 250;
const SLOW = 250;

let pipeline;
let filters;
let running;
let like = null;
let draft = false;
let pause;
let waiting = false;
let best = 0;
let browsing = false;
let pages = 1;

const facets = new Facets(byId("facets"), { choose: (name, value) => (filters.set(name, value), submit()), open: openField, otherwise: query });
const mode = () => form.elements.mode.value;
const path = (rest) => `pipelines/${encodeURIComponent(pipeline.name)}/${rest}`;

function address(changes = {}) {
  const state = new URLSearchParams();
  const set = (name, value) => value && state.set(name, value);
  const row = "like" in changes ? changes.like : like;
  set("pipeline", byId("pipeline").options.length > 1 && pipeline.name);
  if (row !== null) {
    state.set("like", row);
  } else {
    set("query", query.value.trim());
    set("mode", mode() !== pipeline.modes.at(-1) && mode());
    set("typos", changes.typos ?? (asWritten() && "no"));
  }
  const chosen = filters.read();
  set("filters", typeof chosen === "object" ? JSON.stringify(chosen) : chosen);
  set("limit", limit.value !== "20" && limit.value);
  set("pages", !("like" in changes) && pages > 1 && pages);
  set("browse", browsing && row === null && !query.value.trim() && "all");
  return `?${state}`;
}

const rowAddress = (id) => `ui/row?${new URLSearchParams({ pipeline: pipeline.name, id })}`;

function usePipeline(chosen) {
  // A search that fails keeps the former hits, but not those of other rows.
  clear();
  pipeline = chosen;
  offerModes(form.querySelector(".modes"), pipeline.modes);
  filters = new Filters(byId("filter-fields"), pipeline.columns);
  byId("filters-toggle").hidden = !filters.fields.length;
}

function showFilters(open) {
  byId("filters").hidden = !open;
  byId("filters-toggle").setAttribute("aria-expanded", String(open));
}

// Where a column has more values than are listed, its field takes any.
function openField(name) {
  showFilters(true);
  filters.focus(name);
}

// What the search is among: the filters, and the row that the others are like; each can be taken away.
function showChips() {
  const chosen = filters.chips();
  byId("filter-count").hidden = !chosen.length;
  byId("filter-count").textContent = chosen.length;
  const others = like === null ? [] : [{ label: `like #${like}`, remove: () => { like = null; } }];
  chips.replaceChildren(...[...others, ...chosen].map(({ label, remove }) =>
    chip(label, () => (remove(), submit(), (chips.querySelector("button") ?? query).focus()))));
  chips.hidden = !chips.children.length;
  form.querySelector(".modes").disabled = like !== null;
}

function chooseLimit(count) {
  if (![...limit.options].some(({ value }) => value === String(count))) limit.append(make("option", {}, String(count)));
  limit.value = String(count);
}

function filtersOf(text) {
  try {
    return parse(text);
  } catch {
    return text;
  }
}

// From the address to the page. What the address asks for and cannot have is said, and nothing else is shown for it.
function restore() {
  clearTimeout(pause);
  draft = false;
  const state = new URLSearchParams(location.search);
  like = state.get("like");
  browsing = state.get("browse") === "all";
  query.value = state.get("query") ?? state.get("q") ?? "";
  filters.write(filtersOf(state.get("filters") ?? "{}"));
  try {
    form.elements.mode.value = modeOf(state, pipeline);
    chooseLimit(whole(state.get("limit") ?? "20", MOST, "hits"));
    pages = whole(state.get("pages") ?? "1", PAGES, "pages");
    show(unknownParts(state, KNOWN));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    running?.abort();
    clear();
    byId("facets").hidden = byId("welcome").hidden = true;
    showChips();
    notify(error);
  }
}

function clear() {
  hits.replaceChildren();
  byId("more").hidden = true;
  summary.textContent = "";
}

function show(warning = null) {
  showChips();
  byId("welcome").hidden = true;
  if (like !== null) return run(similar, warning);
  if (query.value.trim()) return run(search, warning);
  if (filters.read() !== undefined || browsing) return run(browse, warning);
  running?.abort();
  clear();
  notify(warning && new Failure(warning));
  document.title = "Search · rowvec";
  byId("welcome").hidden = false;
  const named = pipeline.columns.map(({ name }) => name).join(", ");
  summary.textContent = named ? `Searching ${pipeline.name}, which can be filtered by ${named}.` : `Searching ${pipeline.name}.`;
  byId("facets").hidden = true;
  return undefined;
}

// Without words: the rows that pass the filters, by key.
async function browse(signal, after) {
  const body = { limit: Number(limit.value), filters: filters.read(), ...(after && { after }) };
  return { reply: await postJson(path("search/browse"), body, signal), title: `Rows of ${pipeline.name}`, again: browse };
}

async function search(signal, after) {
  const body = { query: query.value, limit: Number(limit.value), filters: filters.read(), explain: true, ...(asWritten() && { typos: false }), ...(after && { after }) };
  return { reply: await postJson(path(`search/${mode()}`), body, signal), title: query.value.trim(), again: search };
}

// The row is named by what the server says of it, not by the address, in which anybody may write a sentence.
async function similar(signal) {
  const chosen = filters.read();
  const asked = new URLSearchParams({ limit: limit.value, explain: true, ...(chosen !== undefined && { where: typeof chosen === "object" ? JSON.stringify(chosen) : chosen }) });
  const [reply, row] = await Promise.all([
    askJson(path(`search/similar/${encodeURIComponent(like)}?${asked}`), { signal }),
    askJson(`ui/row/metadata?${new URLSearchParams({ pipeline: pipeline.name, id: like })}`, { signal }).catch(() => ({ id: like, metadata: {} })),
  ]);
  const heading = `Rows similar to ${headingOf(row, pipeline)}`;
  return { reply, heading, title: heading };
}

async function run(work, warning) {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  facets.count(pipeline, filters, like === null);
  const slow = setTimeout(() => { summary.textContent = "Searching …"; }, SLOW);
  document.body.classList.add("working");
  hits.setAttribute("aria-busy", "true");
  try {
    const { reply: first, heading, title, again } = await work(mine.signal);
    const reply = await continued(first, again, mine.signal);
    const empty = !reply.results.length && like === null && filters.read() === undefined && (reply.total ?? (await rowsIn(pipeline, mine.signal))) === 0;
    if (mine.signal.aborted) return;
    notify(warning && new Failure(warning));
    document.title = `${title} · rowvec`;
    best = reply.results[0]?.score ?? 0;
    hits.replaceChildren(...drawn(reply.results));
    hits.classList.remove("former");
    clearTimeout(slow);
    describe(reply, heading, empty);
    offerMore(reply, again, heading);
  } catch (error) {
    if (error.name === "AbortError") return;
    clearTimeout(slow);
    if (error instanceof Locked) clear();
    else {
      byId("more").hidden = true;
      keepFormer(summary, hits);
    }
    notify(error);
  } finally {
    clearTimeout(slow);
    if (mine === running) {
      document.body.classList.remove("working");
      hits.removeAttribute("aria-busy");
    }
  }
}

const drawn = (results) => cards(results, pipeline, (hit) => ({ row: rowAddress(hit.id), similar: address({ like: hit.id }) }), { mode: like === null ? mode() : "semantic", best });

// The pages that the address asks for, as one.
async function continued(first, again, signal) {
  const results = [...first.results];
  let { next } = first;
  for (let page = 1; page < pages && next && again; page += 1) {
    const { reply } = await again(signal, next);
    results.push(...reply.results);
    ({ next } = reply);
  }
  return { ...first, results, next };
}

// The next page behind the last hit; the keyboard goes on there, and the address holds how many there are.
function offerMore(reply, again, heading) {
  const button = byId("more");
  button.hidden = !reply.next || !again || pages >= PAGES;
  button.onclick = async () => {
    const mine = running;
    button.disabled = true;
    try {
      const { reply: page } = await again(mine.signal, reply.next);
      if (mine !== running) return;
      const items = drawn(page.results);
      for (const item of items) item.tabIndex = -1;
      hits.append(...items);
      items[0]?.focus();
      pages += 1;
      const state = new URLSearchParams(location.search);
      state.set("pages", pages);
      history.replaceState(null, "", `?${state}`);
      const all = { ...reply, results: [...reply.results, ...page.results], next: page.next };
      describe(all, heading, false);
      offerMore(all, again, heading);
    } catch (error) {
      if (error.name !== "AbortError") notify(error);
    } finally {
      button.disabled = false;
    }
  };
}

// Only for the query of the address that says so: another query is corrected again.
function asWritten() {
  const state = new URLSearchParams(location.search);
  return state.get("typos") === "no" && (state.get("query") ?? state.get("q") ?? "").trim() === query.value.trim();
}

function correction(reply) {
  if (!reply.corrected) return [];
  const link = make("a", { href: address({ typos: "no" }) }, `Search for “${query.value.trim()}” as written`);
  return [make("span", { className: "corrected" }, "Searched for ", make("strong", {}, reply.corrected), ". ", link, ". ")];
}

function describe(reply, heading, empty) {
  const count = reply.results.length;
  if (empty) {
    summary.replaceChildren(...noRows(pipeline));
    return;
  }
  if (!count) {
    const advice = reply.advice ?? (filters.read() !== undefined ? "Loosen a filter, or say it in other words." : "Say it in other words.");
    summary.replaceChildren(...missing(reply), ...correction(reply), make("strong", {}, "Nothing found. "), ...spoken(heading ? `${heading}: no other row matches. ${reply.advice ?? ""}` : advice));
    return;
  }
  const scored = reply.results[0].score !== null;
  const among = filters.read() === undefined ? "rows" : "rows that match";
  const facts = [
    scored ? `${count} ${count === 1 ? "hit" : "hits"}` : `${count.toLocaleString("en")} of ${reply.total.toLocaleString("en")} ${among}`,
    took(reply.execution_time_ms),
    scored ? (reply.exact ? "every row compared" : "from the index") : "by key",
    ...(reply.complete || reply.partial ? [] : ["there may be more matching rows"]),
  ];
  summary.replaceChildren(...missing(reply), ...correction(reply), ...(heading ? [make("strong", {}, heading), " · "] : []), facts.join(" · "));
}

// An address that is there already is not put there again.
function submit() {
  clearTimeout(pause);
  if (!pipeline) {
    waiting = true;
    return;
  }
  const wrong = filters.invalid();
  if (wrong) {
    showFilters(true);
    wrong.reportValidity();
    notify(new Failure(`The filter "${wrong.getAttribute("aria-label")}" has a value that cannot be: ${wrong.validationMessage}`));
    return;
  }
  pages = 1;
  const wanted = address();
  if (wanted !== (location.search || "?")) history.pushState(null, "", wanted);
  draft = false;
  show();
}

// Hits while one types, where a query costs nothing: in one entry of the history until Enter makes it a search.
function onTyping() {
  clearTimeout(pause);
  if (!pipeline || pipeline.billed || query.value.trim().length < 2 || filters.invalid()) return;
  pause = setTimeout(() => {
    like = null;
    pages = 1;
    const wanted = address();
    if (wanted === location.search) return;
    if (draft) history.replaceState(null, "", wanted);
    else history.pushState(null, "", wanted);
    draft = true;
    show();
  }, PAUSE);
}

function openSimilar(item) {
  like = item.dataset.id;
  query.value = "";
  submit();
  window.scrollTo({ top: 0 });
  query.focus({ preventScroll: true });
}

function focusHit(item) {
  if (!item) return;
  for (const other of hits.children) other.tabIndex = other === item ? 0 : -1;
  item.focus();
}

function onKey(event) {
  const hit = event.target.closest(".hit");
  if (isSlash(event)) query.focus(), query.select();
  else if (event.key === "ArrowDown" && event.target === query) focusHit(hits.firstElementChild);
  else if (event.key === "ArrowDown" && hit) focusHit(hit.nextElementSibling);
  else if (event.key === "ArrowUp" && hit) hit.previousElementSibling ? focusHit(hit.previousElementSibling) : query.focus();
  else if (event.key === "Enter" && hit && event.target === hit) openSimilar(hit);
  else if (event.key === "Escape" && hit) query.focus();
  else return;
  event.preventDefault();
}

function listen() {
  document.addEventListener("keydown", onKey);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (query.value.trim()) like = null;
    submit();
  });
  form.addEventListener("change", (event) => {
    if (!pipeline) return;
    if ((event.target.name === "mode" || event.target === limit) && byId("welcome").hidden) submit();
  });
  query.addEventListener("input", onTyping);
  byId("browse").addEventListener("click", () => {
    browsing = true;
    submit();
    summary.focus();
  });
  byId("filters-toggle").addEventListener("click", () => showFilters(byId("filters").hidden));
  byId("filters-clear").addEventListener("click", () => (filters.write({}), submit()));
  hits.addEventListener("click", (event) => {
    const link = event.target.closest(".similar");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openSimilar(link.closest(".hit"));
  });
}

try {
  listen();
  const use = (chosen) => {
    usePipeline(chosen);
    like = null;
    notify(null);
    submit();
  };
  const first = await choosePipeline(use, (chosen) => {
    if (chosen !== pipeline) usePipeline(chosen);
    restore();
  });
  const typed = query.value;
  usePipeline(first);
  restore();
  // What somebody typed before the server had answered stays, also over the query of the address, and Enter counts.
  if (typed) {
    query.value = typed;
    if (!waiting) onTyping();
    else {
      like = null;
      submit();
    }
  }
} catch (error) {
  notify(error);
}

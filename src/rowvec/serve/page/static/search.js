// The search page. Its state is the address, so that a search can be shared and the back button works.

import { ask, askJson, choosePipeline, make, notify, parse } from "./common.js";
import { Filters } from "./filters.js";
import { cards } from "./hits.js";

const byId = (id) => document.getElementById(id);
const [form, query, hits, summary, limit] = ["search", "query", "hits", "summary", "limit"].map(byId);
const MODES = { hybrid: "Meaning + words", semantic: "Meaning", keyword: "Words" };

let pipeline;
let filters;
let running;

const mode = () => form.elements.mode.value;

function address(changes) {
  const state = new URLSearchParams();
  const set = (name, value) => value && state.set(name, value);
  set("pipeline", byId("pipeline").options.length > 1 && pipeline.name);
  if (changes?.like !== undefined) {
    state.set("like", changes.like);
    set("title", changes.title);
  } else {
    set("query", query.value.trim());
    set("mode", mode());
    set("typos", changes?.typos);
    const chosen = filters.read();
    set("filters", Object.keys(chosen).length && JSON.stringify(chosen));
  }
  set("limit", limit.value !== "20" && limit.value);
  return `?${state}`;
}

function usePipeline(chosen) {
  pipeline = chosen;
  const offered = Object.keys(MODES).filter((name) => pipeline.modes.includes(name));
  form.querySelector(".modes").replaceChildren(form.querySelector(".modes legend"), ...offered.map((name, index) =>
    make("label", {}, make("input", { type: "radio", name: "mode", value: name, checked: !index }), make("span", {}, MODES[name]))));
  filters = new Filters(byId("filter-fields"), pipeline.columns);
  byId("filters-toggle").hidden = !filters.fields.length;
}

function showFilters(open) {
  byId("filters").hidden = !open;
  byId("filters-toggle").setAttribute("aria-expanded", String(open));
}

function countFilters() {
  const count = Object.keys(filters.read()).length;
  byId("filter-count").hidden = !count;
  byId("filter-count").textContent = count;
}

function restore() {
  const state = new URLSearchParams(location.search);
  query.value = state.get("query") ?? "";
  if (pipeline.modes.includes(state.get("mode"))) form.elements.mode.value = state.get("mode");
  limit.value = state.get("limit") ?? "20";
  let chosen = {};
  try {
    chosen = parse(state.get("filters") ?? "{}");
  } catch { /* Somebody edited the address: no filters. */ }
  filters.write(chosen);
  countFilters();
  show(state);
}

function show(state) {
  const like = state.get("like");
  if (like !== null) return run(() => similar(like), `Rows similar to ${state.get("title") || `#${like}`}`);
  if (query.value.trim()) return run(search);
  hits.replaceChildren();
  notify(null);
  summary.textContent = pipeline.columns.length
    ? `Searching ${pipeline.name}, which can be filtered by ${pipeline.columns.map(({ name }) => name).join(", ")}.`
    : `Searching ${pipeline.name}.`;
  return undefined;
}

const search = () => askJson(`pipelines/${encodeURIComponent(pipeline.name)}/search/${mode()}`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({
    query: query.value, limit: Number(limit.value), filters: filters.read(), explain: true,
    ...(asWritten() && { typos: false }),
  }),
  signal: running.signal,
});

const similar = async (id) => {
  const path = `pipelines/${encodeURIComponent(pipeline.name)}/search/similar/${encodeURIComponent(id)}`;
  return parse(await (await ask(`${path}?limit=${limit.value}&explain=true`, { signal: running.signal })).text());
};

async function run(work, heading) {
  running?.abort();
  const mine = running = new AbortController();
  document.body.classList.add("working");
  try {
    const reply = await work();
    notify(null);
    hits.replaceChildren(...cards(reply.results, pipeline.columns, (id) => address({ like: id })));
    describe(reply, heading);
  } catch (error) {
    if (error.name === "AbortError") return;
    hits.replaceChildren();
    summary.textContent = "";
    notify(error);
  } finally {
    if (mine === running) document.body.classList.remove("working");
  }
}

// Only where the address says so: a new search corrects typos again.
const asWritten = () => new URLSearchParams(location.search).get("typos") === "no";

function correction(reply) {
  if (!reply.corrected) return [];
  const link = make("a", { href: address({ typos: "no" }) }, `Search for “${query.value.trim()}” as written`);
  return [make("span", { className: "corrected" }, "Searched for ", make("strong", {}, reply.corrected), ". ", link, ". ")];
}

function describe(reply, heading) {
  const count = reply.results.length;
  const filtered = Object.keys(filters.read()).length > 0;
  if (!count) {
    const advice = filtered && !heading ? "Loosen a filter, or say it in other words." : "Say it in other words.";
    summary.replaceChildren(...correction(reply), make("strong", {}, "Nothing found. "), advice);
    return;
  }
  const facts = [
    `${count} ${count === 1 ? "hit" : "hits"}`,
    `${reply.execution_time_ms.toFixed(1)} ms`,
    reply.exact ? "every row compared" : "from the index",
    ...(reply.complete ? [] : ["there may be more matching rows"]),
  ];
  summary.replaceChildren(...correction(reply), ...(heading ? [make("strong", {}, heading), " · "] : []), facts.join(" · "));
}

function submit() {
  countFilters();
  history.pushState(null, "", address());
  show(new URLSearchParams(location.search));
}

function openSimilar(item) {
  history.pushState(null, "", address({ like: item.dataset.id, title: item.dataset.title }));
  show(new URLSearchParams(location.search));
  window.scrollTo({ top: 0 });
  query.focus({ preventScroll: true });
}

function focusHit(item) {
  if (!item) return;
  for (const other of hits.children) other.tabIndex = other === item ? 0 : -1;
  item.focus();
}

function onKey(event) {
  const typing = event.target.closest("input, select, textarea, dialog") !== null;
  const hit = event.target.closest(".hit");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) query.focus(), query.select();
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
  form.addEventListener("submit", (event) => (event.preventDefault(), submit()));
  form.addEventListener("change", (event) => {
    countFilters();
    if ((event.target.name === "mode" || event.target === limit) && query.value.trim()) submit();
  });
  byId("filters-toggle").addEventListener("click", () => showFilters(byId("filters").hidden));
  byId("filters-clear").addEventListener("click", () => (filters.write({}), submit()));
  hits.addEventListener("click", (event) => {
    const link = event.target.closest(".similar");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openSimilar(link.closest(".hit"));
  });
  window.addEventListener("popstate", restore);
}

try {
  usePipeline(await choosePipeline((chosen) => (usePipeline(chosen), submit()), usePipeline));
  listen();
  restore();
} catch (error) {
  notify(error);
}
